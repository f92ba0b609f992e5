import Foundation
import Testing
import XTunerData

struct FileFinderTests {
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    for name in [
      "b/z.jsonl", "b/a.jsonl.gz", "a.txt.zst", "c/d/e.json", "README.md", ".hidden.jsonl",
      ".git/x.jsonl", "part-10.ndjson", "part-2.jsonl",
    ] {
      _ = try folder.write(name, "")
    }
  }

  private func files(_ pattern: String) throws -> [String] {
    try RecordSource(paths: ["\(folder.path)/\(pattern)"]).files()
      .map { String($0.dropFirst(folder.path.count + 1)) }
  }

  private func failure(_ path: String) -> DataReadError? {
    #expect(throws: DataReadError.self) { try RecordSource(paths: [path]).files() }
  }

  @Test func listsFoldersRecursivelyAndSorted() throws {
    let expected = [
      "a.txt.zst", "b/a.jsonl.gz", "b/z.jsonl", "c/d/e.json", "part-10.ndjson", "part-2.jsonl",
    ]
    #expect(
      try RecordSource(paths: [folder.path]).files()
        == expected.map { "\(folder.path)/\($0)" })
  }

  @Test(arguments: [
    ("*.jsonl", ["part-2.jsonl"]), ("part-?.jsonl", ["part-2.jsonl"]),
    ("part-[0-9]*", ["part-10.ndjson", "part-2.jsonl"]),
    ("**/*.jsonl*", ["b/a.jsonl.gz", "b/z.jsonl", "part-2.jsonl"]), ("*/*.gz", ["b/a.jsonl.gz"]),
    ("c/**/e.json", ["c/d/e.json"]),
  ])
  func matchesPatterns(_ pattern: String, _ expected: [String]) throws {
    #expect(try files(pattern) == expected)
  }

  @Test func aFileWhoseNameLooksLikeAPatternIsThatFile() throws {
    let path = try folder.write("x[1].jsonl", "")
    #expect(try RecordSource(paths: [path]).files() == [path])
  }

  @Test func pathsWithoutDataAreErrors() throws {
    #expect(failure("\(folder.path)/none.jsonl")?.message == "no such file or folder")
    #expect(failure("\(folder.path)/*.zip")?.message == "no file matches the pattern")
    #expect(failure("\(folder.path)/none/*.jsonl")?.message.contains("does not exist") == true)
    let empty = try TemporaryFolder()
    #expect(failure(empty.path)?.message.contains("found nothing") == true)
    _ = try empty.write("notes.md", "")
    #expect(failure(empty.path)?.message.contains("notes.md") == true)
    #expect(
      #expect(throws: DataReadError.self) { try RecordSource(paths: []).files() }?.code == .noFiles)
  }

  @Test(arguments: ["parquet", "arrow", "csv", "tsv"])
  func tablesAreRefusedWithTheCommandThatConvertsThem(_ kind: String) throws {
    let path = try folder.write("it's/t.\(kind)", "")
    let quoted = path.replacingOccurrences(of: "'", with: "'\\''")
    let error = failure(path)
    #expect(error?.code == .unsupportedFile)
    #expect(error?.message.contains("python3 -c") == true)
    #expect(
      error?.message.hasSuffix("'\(quoted)' '\(quoted.dropLast(kind.count))jsonl'") == true)
    #expect(failure(folder.path)?.code == .unsupportedFile)
  }

  @Test func unknownKindsAreRefused() throws {
    #expect(failure("\(folder.path)/README.md")?.message.contains(".jsonl, .json, .txt") == true)
  }

  @Test func namesThatDifferInFormAreDifferentFilesAndFolders() throws {
    let composed = "caf\u{E9}"
    let decomposed = "cafe\u{301}"
    let other = try TemporaryFolder()
    for name in [composed, decomposed] {
      _ = try other.write("\(name)/\(composed).jsonl", "")
      _ = try other.write("\(name)/\(decomposed).jsonl", "")
    }
    let expected = [decomposed, composed].flatMap { folder in
      [decomposed, composed].map { "\(other.path)/\(folder)/\($0).jsonl" }
    }
    for pattern in ["", "/*/*.jsonl", "/**/caf*.jsonl"] {
      let found = try RecordSource(paths: [other.path + pattern]).files()
      #expect(found.map { Array($0.utf8) } == expected.map { Array($0.utf8) }, "\(pattern)")
    }
  }

  @Test func linksThatLeadBackEnd() throws {
    try FileManager.default.createSymbolicLink(
      atPath: "\(folder.path)/c/loop", withDestinationPath: folder.path)
    #expect(try RecordSource(paths: [folder.path]).files().count == 6)
  }

  private func link(_ name: String, to destination: String) throws {
    try FileManager.default.createSymbolicLink(
      atPath: "\(folder.path)/\(name)", withDestinationPath: destination)
  }

  @Test func linksThatPointNowhereAreErrorsThatNameThem() throws {
    try link("b/gone.jsonl", to: "\(folder.path)/none.jsonl")
    try link("b/round", to: "round")
    for path in ["b/gone.jsonl", "b/round"] {
      #expect(failure("\(folder.path)/\(path)")?.message.contains("points nowhere") == true)
    }
    let error = failure(folder.path)
    #expect(error?.code == .unreadableFile)
    #expect(error?.file == "\(folder.path)/b/gone.jsonl")
    #expect(failure("\(folder.path)/**/*.jsonl")?.file == "\(folder.path)/b/gone.jsonl")
  }

  @Test func aFolderThatTwoLinksNameIsReadTwice() throws {
    try link("first", to: "b")
    try link("second", to: "b")
    #expect(
      try files("*/z.jsonl") == ["b/z.jsonl", "first/z.jsonl", "second/z.jsonl"])
    #expect(try RecordSource(paths: [folder.path]).files().count == 10)
  }

  @Test func namesInAnotherFormOfTheSameTextAreOtherFiles() throws {
    for name in ["\u{E9}/x.jsonl", "e\u{301}/x.jsonl", "y\u{E9}.jsonl", "ye\u{301}.jsonl"] {
      _ = try folder.write("forms/\(name)", "")
    }
    let found = try files("forms").map { Array($0.utf8) }
    #expect(found.count == 4)
    #expect(Set(found).count == 4)
  }

  @Test func namesThatAreNotUTF8AreErrors() throws {
    let bytes = Array("\(folder.path)/b/".utf8) + [0x61, 0xFF] + Array(".jsonl".utf8) + [0]
    let descriptor = bytes.map { CChar(bitPattern: $0) }.withUnsafeBufferPointer {
      open($0.baseAddress!, O_CREAT | O_WRONLY, 0o600)
    }
    #expect(close(descriptor) == 0)
    let error = failure(folder.path)
    #expect(error?.message.contains("not valid UTF-8") == true)
    #expect(error?.file == "\(folder.path)/b")
    #expect(unlink(bytes.map { CChar(bitPattern: $0) }) == 0)
  }
}
