import ConfigurationSupport
import Foundation
import Testing

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerTrainer

@Suite struct ModelLocationTests {
  private static func withFolder(_ files: [String], _ body: (String) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("location-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    for file in files {
      let url = URL(fileURLWithPath: "\(folder)/\(file)")
      try FileManager.default.createDirectory(
        at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data("0123\n".utf8).write(to: url)
    }
    try body(folder)
  }

  private func location(_ folder: String) -> ModelLocation {
    ModelLocation(environment: ["HF_HUB_CACHE": "\(folder)/hub"])
  }

  /// The path, or the message of the error.
  private func found(_ location: ModelLocation, _ name: String) -> String {
    do {
      return try location.path(of: name)
    } catch {
      #expect(error.exitCode == .model)
      return error.description
    }
  }

  @Test func foldersAndFilesStayAsTheyAre() throws {
    try Self.withFolder(["m/config.json", "t/tokenizer.json", "m/config.yaml"]) { folder in
      for name in ["m", "t", "t/tokenizer.json"] {
        #expect(found(location(folder), "\(folder)/\(name)") == "\(folder)/\(name)")
      }
    }
  }

  @Test func aRunDirectoryMeansItsExport() throws {
    let checkpoint = "b/checkpoints/step-00000003/manifest.json"
    try Self.withFolder(
      ["a/config.yaml", "a/export/config.json", "b/config.yaml", checkpoint]
    ) { folder in
      let location = location(folder)
      #expect(found(location, "\(folder)/a") == "\(folder)/a/export")
      #expect(
        found(location, "\(folder)/b").contains("`xtuner export \(folder)/b --to DIR`"))
      let path = "\(folder)/b/checkpoints/step-00000003"
      #expect(found(location, path).contains("`xtuner export \(path) --to DIR`"))
    }
  }

  @Test func namesOfTheHubAreFoundInItsCache() throws {
    try Self.withFolder([
      "hub/models--Qwen--Qwen3-0.6B/refs/main",
      "hub/models--Qwen--Qwen3-0.6B/snapshots/0123/config.json",
      "hub/datasets--org--set/refs/main", "hub/datasets--org--set/snapshots/0123/a.jsonl",
    ]) { folder in
      let location = location(folder)
      let snapshot = "\(folder)/hub/models--Qwen--Qwen3-0.6B/snapshots/0123"
      #expect(found(location, "Qwen/Qwen3-0.6B") == snapshot)
      #expect(found(location, "hf://Qwen/Qwen3-0.6B") == snapshot)
      let configuration = try load(
        """
        model: {path: Qwen/Qwen3-0.6B}
        data: {train: [org/set, other/set, a.jsonl]}
        training: {steps: 7}
        """
      ).located(location)
      #expect(configuration.model.path == snapshot)
      #expect(configuration.tokenizer.path == snapshot)
      #expect(
        configuration.data.train.map(\.path)
          == ["\(folder)/hub/datasets--org--set/snapshots/0123", "other/set", "a.jsonl"])
      #expect(configuration.data.train.map(\.name) == ["set", "set-2", "a"])
    }
  }

  @Test(arguments: [
    ("Qwen/Qwen3-0.6B", "`hf download Qwen/Qwen3-0.6B` fetches it"),
    ("models/Qwen3-0.6B", "`hf download Qwen/Qwen3-0.6B --local-dir models/Qwen3-0.6B` fetches it"),
    ("hf://org/name@v1", "`hf download org/name --revision v1` fetches it"),
    ("./org/name/deeper", "`hf download ORG/NAME --local-dir DIR` fetches a model"),
  ])
  func whatIsMissingComesWithTheCommandThatFetchesIt(name: String, advice: String) throws {
    let text = found(location("/nowhere"), name)
    #expect(text.hasPrefix("\(name): there is no such folder here"), "\(text)")
    #expect(text.contains(advice), "\(text)")
  }

  @Test func aMissingModelIsNamedWithItsLine() throws {
    let configuration = try load(minimalYAML.replacing("path: m", with: "path: Qwen/Qwen3-0.6B"))
    let error = #expect(throws: TrainingError.self) { try configuration.modelConfiguration() }
    #expect(error?.exitCode == .model)
    #expect(
      error?.description.hasPrefix("run.yaml:2: model.path: Qwen/Qwen3-0.6B: there is") == true)
  }
}
