import Foundation
import Testing
import Torch
import XTunerModels
import XTunerParallel

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerCheckpoint
@testable import XTunerTrainer

/// Checkpoints that somebody changed and signed anew: every digest is right, and what they say is not.
@Suite(.serialized) struct CraftedCheckpointTests {
  private func withCheckpoint(_ body: (TinyRun, String) throws -> Void) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "a", ["training.steps=3", "export.at_end=false"])
    try body(tiny, "\(tiny.folder)/a/checkpoints/step-00000003")
  }

  /// Changes the manifest and gives it, and all files, the digests that they now have.
  private func sign(
    _ folder: String, _ change: (inout RunCheckpointManifest) -> Void = { _ in }
  ) throws {
    func url(_ name: String) -> URL { URL(fileURLWithPath: "\(folder)/\(name)") }
    func write(_ data: Data, _ name: String) throws -> OutputFile.Summary {
      let file = try OutputFile(path: "\(folder)/\(name)", isHashed: true)
      try data.withUnsafeBytes { try file.write($0) }
      return try file.finish()
    }
    var manifest = try JSONDecoder().decode(
      RunCheckpointManifest.self, from: try Data(contentsOf: url("manifest.json")))
    change(&manifest)
    for index in manifest.files.indices {
      let name = manifest.files[index].name
      let written = try write(try Data(contentsOf: url(name)), name)
      manifest.files[index].byteCount = written.byteCount
      manifest.files[index].sha256 = written.digest
    }
    let written = try write(try JSONEncoder().encode(manifest), "manifest.json")
    _ = try write(Data("\(written.digest)  manifest.json\n".utf8), "manifest.sha256")
  }

  /// Writes one float32 value over the first element of a parameter.
  private func put(
    _ value: Float, in parameter: String, _ kind: String, _ folder: String
  ) throws {
    let checkpoint = try RunCheckpoint(path: folder)
    let piece = try #require(
      checkpoint.manifest.pieces.first {
        $0.parameter == parameter && $0.file.hasPrefix("\(kind)-")
      })
    let start = try checkpoint.open(piece.file).entry(piece.tensor).byteRange.lowerBound
    let url = URL(fileURLWithPath: "\(folder)/\(piece.file)")
    var data = try Data(contentsOf: url)
    withUnsafeBytes(of: value.bitPattern.littleEndian) {
      data.replaceSubrange(start + 4 * piece.offset..<start + 4 * piece.offset + 4, with: $0)
    }
    try data.write(to: url)
  }

  private func expectRefusal(
    _ tiny: TinyRun, exports: Bool = true, _ parts: String...
  ) {
    let resumed = #expect(throws: (any Error).self, "\(parts)") {
      try tiny.train(run: "a", ["training.steps=5", "export.at_end=false"])
    }
    for part in parts {
      #expect("\(resumed as Any)".contains(part), "\(resumed as Any)")
    }
    guard exports else { return }
    let exported = #expect(throws: (any Error).self, "\(parts)") {
      try RunExport(path: "\(tiny.folder)/a/checkpoints/step-00000003")
    }
    for part in parts {
      #expect("\(exported as Any)".contains(part), "\(exported as Any)")
    }
  }

  @Test func weightsThatAreNotFiniteAreNamed() throws {
    try withCheckpoint { tiny, folder in
      try put(.nan, in: "layers.1.experts.down.weight", "weights", folder)
      try sign(folder)
      expectRefusal(
        tiny, "weights-00000.safetensors", "the weights of layers.1.experts.down.weight hold a NaN")
    }
  }

  @Test func momentsThatAreNotFiniteAreNamed() throws {
    try withCheckpoint { tiny, folder in
      try put(.infinity, in: "finalNorm.weight", "second_moments", folder)
      try sign(folder)
      expectRefusal(
        tiny, exports: false, "second_moments-00000.safetensors",
        "the second_moments of finalNorm.weight hold a NaN or an infinity")
    }
  }

  /// The same count of elements, some twice and some not at all.
  @Test func piecesMustMakeTheWholeParameter() throws {
    try withCheckpoint { tiny, folder in
      try sign(folder) { manifest in
        let index = manifest.pieces.firstIndex { $0.parameter == "layers.0.router.weight" }!
        var half = manifest.pieces[index]
        let (count, start) = (half.length / 2, half.offset)
        half.slice = ParameterSlice(whole: [5, 24])
        half.length = count
        manifest.pieces[index] = half
        half.offset = start + count
        manifest.pieces.append(half)
      }
      expectRefusal(tiny, "the weights of layers.0.router.weight are there twice from element 0 on")
    }
  }

  @Test func aTensorBelongsToItsParameter() throws {
    try withCheckpoint { tiny, folder in
      try sign(folder) { manifest in
        // The same shapes in both layers.
        for index in manifest.pieces.indices {
          let name = manifest.pieces[index].parameter
          if name == "layers.0.attention.query.weight" {
            manifest.pieces[index].parameter = "layers.1.attention.query.weight"
          } else if name == "layers.1.attention.query.weight" {
            manifest.pieces[index].parameter = "layers.0.attention.query.weight"
          }
        }
      }
      expectRefusal(
        tiny, "the weights of layers.0.attention.query.weight are in the unit layers.1 of",
        "and belong to layers.0")
    }
  }

  @Test func typesAreThoseOfTheManifest() throws {
    try withCheckpoint { tiny, folder in
      try sign(folder) { $0.pieces[0].dataType = .bfloat16 }
      expectRefusal(tiny, "the tensor is F32, the manifest says BF16")
    }
  }

  @Test(arguments: [
    ("step", "4", "step is 4, the manifest says 3"),
    ("updateCount", "9223372036854775807", "updateCount must be"),
    ("skippedCount", "-1", "skippedCount must be"),
    ("epoch", "9223372036854775807", "loader.epoch must be"),
    ("packsConsumed", "9223372036854775807", "loader.packsConsumed must be"),
  ])
  func countersMustBePossible(_ name: String, _ value: String, _ reason: String) throws {
    try withCheckpoint { tiny, folder in
      let url = URL(fileURLWithPath: "\(folder)/state.json")
      let text = try String(contentsOf: url, encoding: .utf8)
      let member = try Regex("\"\(name)\" : -?[0-9]+")
      let changed = text.replacing(member, with: "\"\(name)\" : \(value)")
      try #require(changed != text, "\(text)")
      try Data(changed.utf8).write(to: url)
      try sign(folder)
      expectRefusal(tiny, exports: false, "state.json", reason)
    }
  }
}
