import Foundation
import Testing
import XTunerParallel

@testable import XTunerCheckpoint

extension RunCheckpoint {
  /// Writes a changed manifest with a right digest beside it, as somebody who means harm would.
  static func rewriteManifest(
    in folder: String, _ change: (inout RunCheckpointManifest) -> Void
  ) throws {
    let url = URL(fileURLWithPath: "\(folder)/\(RunCheckpointManifest.fileName)")
    var manifest = try JSONDecoder().decode(
      RunCheckpointManifest.self, from: try Data(contentsOf: url))
    change(&manifest)
    try signManifest(Array(try JSONEncoder().encode(manifest)), in: folder)
  }

  static func signManifest(_ text: [UInt8], in folder: String) throws {
    let written = try RunCheckpointStore.write(
      text, named: RunCheckpointManifest.fileName, to: folder)
    _ = try RunCheckpointStore.write(
      Array("\(written.sha256)  manifest.json\n".utf8),
      named: RunCheckpointManifest.digestFileName, to: folder)
  }
}

@Suite struct ManifestTests {
  private let folder: TemporaryFolder
  private let store: RunCheckpointStore

  init() throws {
    folder = try TemporaryFolder()
    store = RunCheckpointStore(folder: folder.file("checkpoints"))
  }

  @Test func aChangedByteOfTheManifestIsFound() throws {
    try store.write(.example(step: 4))
    let relative = "checkpoints/step-00000004/manifest.json"
    let whole = try folder.read(relative)
    for index in whole.indices {
      var changed = whole
      changed[index] ^= 1
      _ = try folder.write(changed, to: relative)
      #expect(try store.scan().complete.isEmpty, "byte \(index)")
    }
    _ = try folder.write(whole, to: relative)
    #expect(try store.scan().complete.map(\.step) == [4])
  }

  /// What `sha256sum -c` reads.
  @Test func theDigestIsThatOfTheCommonTool() throws {
    let checkpoint = try store.write(.example(step: 4))
    let text = String(
      decoding: try folder.read("checkpoints/step-00000004/manifest.sha256"), as: UTF8.self)
    #expect(text.hasSuffix("  manifest.json\n") && text.utf8.count == 64 + 16)
    try FileManager.default.removeItem(atPath: "\(checkpoint.path)/manifest.sha256")
    #expect(try store.scan().rejected.first?.error.code == .missing)
  }

  @Test(arguments: [1, 2])
  func checkpointsOfBeforeTheDigestAreRead(version: Int) throws {
    let path = try store.write(.example(step: 4)).path
    try RunCheckpoint.rewriteManifest(in: path) { $0.formatVersion = version }
    try FileManager.default.removeItem(atPath: "\(path)/manifest.sha256")
    let found = try #require(try store.latestComplete())
    try found.verify()
    #expect(try found.modelFiles().isEmpty && found.manifest.formatVersion == version)
  }

  @Test func theModelsFilesComeBack() throws {
    var contents = try RunCheckpointContents.example(step: 4)
    contents.modelFiles = [("config.json", [1, 2, 3]), ("tokenizer.json", [])]
    let checkpoint = try store.write(contents)
    try checkpoint.verify()
    let files = try checkpoint.modelFiles()
    #expect(files.map(\.name) == ["config.json", "tokenizer.json"])
    #expect(files.map(\.bytes) == [[1, 2, 3], []])
    for name in ["state.json", "manifest.json", "manifest.sha256", "weights.safetensors", "a/b"] {
      contents.modelFiles = [(name, [1])]
      #expect(throws: CheckpointError.self, "\(name)") { try store.write(contents) }
    }
    #expect(try store.scan().complete.map(\.step) == [4])
  }

  private typealias Change = @Sendable (inout RunCheckpointManifest) -> Void

  /// Numbers that overflow, lie outside or contradict, each with a right digest.
  private static let impossible: [(String, Change)] = [
    ("offset and length", { $0.pieces[0].offset = -5 }),
    ("offset and length", { $0.pieces[0].length = -1 }),
    ("not in a file", { $0.pieces[0].offset = .max }),
    ("not in a file", { $0.pieces[0].length = .max }),
    ("not in a file", { $0.pieces[0].offset = 1 << 61 }),
    ("start must not", { $0.pieces[0].start = -1 }),
    (
      "not in a slice",
      {
        $0.pieces[0].slice = ParameterSlice(shape: [5, 11], ranges: [0..<5, 4..<11])
        $0.pieces[0].start = .max
      }
    ),
    ("in the tensor unit.0 of the unit unit.1", { $0.pieces[0].unit = "unit.1" }),
    ("step must be", { $0.step = .max }),
    ("step must be", { $0.step = -1 }),
    ("byteCount", { $0.files[0].byteCount = -1 }),
    ("listed twice", { $0.files.append($0.files[0]) }),
    ("file of the model", { $0.modelFiles = ["nowhere"] }),
  ]

  @Test func impossibleNumbersAreRefused() throws {
    for (reason, change) in Self.impossible {
      let path = try store.write(.example(step: 4)).path
      try RunCheckpoint.rewriteManifest(in: path, change)
      let error = #expect(throws: CheckpointError.self, "\(reason)") {
        try RunCheckpoint(path: path)
      }
      #expect(error?.code == .damaged && error?.reason.contains(reason) == true, "\(error as Any)")
    }
  }

  @Test func slicesThatAreNoneAreRefused() throws {
    for slice in [
      #"{"shape": [], "ranges": []}"#, #"{"shape": [5], "ranges": []}"#,
      #"{"shape": [-5], "ranges": [[0, 0]]}"#, #"{"shape": [5], "ranges": [[-3, 2]]}"#,
      #"{"shape": [5], "ranges": [[0, 6]]}"#, #"{"shape": [5], "ranges": [[4, 2]]}"#,
      #"{"shape": [4294967296, 4294967296], "ranges": [[0, 1], [0, 1]]}"#,
      #"{"shape": [9223372036854775807], "ranges": [[0, 9223372036854775807]]}"#,
    ] {
      let path = try store.write(.example(step: 4)).path
      let text = String(
        decoding: try folder.read("checkpoints/step-00000004/manifest.json"), as: UTF8.self)
      let changed = text.replacing("\"offset\" : 0", with: "\"offset\" : 0, \"slice\" : \(slice)")
      #expect(changed != text)
      try RunCheckpoint.signManifest(Array(changed.utf8), in: path)
      let error = #expect(throws: CheckpointError.self, "\(slice)") {
        try RunCheckpoint(path: path)
      }
      #expect(error?.code == .damaged)
    }
  }

  /// What the manifest says of a file is compared with the file when digests are.
  @Test func piecesMustLieInTheirTensors() throws {
    let changes: [(String, Change)] = [
      ("the tensor is U8, the manifest says I8", { $0.pieces[0].dataType = .int8 }),
      ("are not in a tensor of [35]", { $0.pieces[0].length = 36 }),
      ("are not in a tensor of [35]", { $0.pieces[0].offset = 1 }),
      (
        "unit.0.bias at 34 of tensor unit.0: overlaps unit.0.weight, which ends at 35",
        {
          var other = $0.pieces[0]
          other.parameter = "unit.0.bias"
          (other.offset, other.length) = (34, 1)
          $0.pieces.append(other)
        }
      ),
      ("has no tensor unit.7", { ($0.pieces[0].tensor, $0.pieces[0].unit) = ("unit.7", "unit.7") }),
    ]
    for (reason, change) in changes {
      let path = try store.write(.example(step: 4)).path
      try RunCheckpoint.rewriteManifest(in: path, change)
      let checkpoint = try RunCheckpoint(path: path)
      let error = #expect(throws: CheckpointError.self) { try checkpoint.verify() }
      #expect(error?.reason.contains(reason) == true, "\(error as Any)")
    }
  }
}
