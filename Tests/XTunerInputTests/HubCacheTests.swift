import Foundation
import Testing

@testable import XTunerInput

@Suite struct HubCacheTests {
  @Test(arguments: [
    ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", "main"),
    ("hf://Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", "main"),
    ("hf://models/Qwen/Qwen3-0.6B@v1.2", "Qwen/Qwen3-0.6B", "v1.2"),
    ("https://huggingface.co/Qwen/Qwen3-0.6B/", "Qwen/Qwen3-0.6B", "main"),
  ])
  func namesAreRead(text: String, repository: String, revision: String) throws {
    let name = try #require(HubName(text, expecting: .model))
    #expect(name.kind == .model)
    #expect(name.repository == repository)
    #expect(name.revision == revision)
  }

  @Test(arguments: [
    "a", "/a/b", "./a", "../a", "a/b/c", "a/", "a/b.txt/", "a b/c", "a/b*", "hf://a", "", "a/../b",
    "hf://a/b/c", "a/\u{E9}", "a/-b", "hf://a/b@",
  ])
  func pathsAreNoNames(text: String) {
    #expect(HubName(text, expecting: .model) == nil)
  }

  @Test func commandsFetchWhatIsMeant() {
    #expect(HubName("a/b", expecting: .model)?.downloadCommand == "hf download a/b")
    #expect(
      HubName("hf://datasets/a/b@x", expecting: .model)?.downloadCommand
        == "hf download a/b --repo-type dataset --revision x")
  }

  @Test func theCacheIsWhereTheHubsToolsPutIt() {
    #expect(
      HubCache(environment: ["HOME": "/h"]).folder == "/h/.cache/huggingface/hub")
    #expect(
      HubCache(environment: ["HOME": "/h", "XDG_CACHE_HOME": "/x"]).folder == "/x/huggingface/hub")
    #expect(HubCache(environment: ["HOME": "/h", "HF_HOME": "/f"]).folder == "/f/hub")
    #expect(
      HubCache(environment: ["HF_HOME": "/f", "HF_HUB_CACHE": "/c"]).folder == "/c")
  }

  @Test func snapshotsAreFoundByReferenceAndByCommit() throws {
    let root = FileManager.default.temporaryDirectory
      .appendingPathComponent("hub-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: root) }
    let repository = root.appendingPathComponent("models--a--b")
    let manager = FileManager.default
    for folder in ["refs", "snapshots/0123abc"] {
      try manager.createDirectory(
        at: repository.appendingPathComponent(folder), withIntermediateDirectories: true)
    }
    try Data("0123abc\n".utf8).write(to: repository.appendingPathComponent("refs/main"))
    let cache = HubCache(folder: root.path)
    let expected = "\(repository.path)/snapshots/0123abc"
    func path(_ text: String) -> String? {
      HubName(text, expecting: .model).flatMap(cache.snapshot(of:))
    }
    #expect(path("a/b") == expected)
    #expect(path("hf://a/b@0123abc") == expected)
    #expect(path("hf://a/b@other") == nil)
    #expect(path("hf://datasets/a/b") == nil)
    #expect(path("a/c") == nil)
  }
}
