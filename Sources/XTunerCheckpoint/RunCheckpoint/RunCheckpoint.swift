import Crypto
import Glibc
import XTunerText

/// A complete checkpoint of a run, on disk.
public struct RunCheckpoint: Sendable, Hashable {
  static let keepFileName = "KEEP"

  /// Its folder.
  public let path: String
  /// What it consists of.
  public let manifest: RunCheckpointManifest

  /// Opens a folder, accepting it only if it is complete.
  ///
  /// The manifest's digest and the files' sizes are compared; the files' digests are not, see
  /// `verify()`.
  ///
  /// - Throws: `CheckpointError` where the manifest is absent, damaged or of another version, where it
  ///   names something impossible, or where a file is absent or of another size.
  public init(path: String) throws(CheckpointError) {
    let path = FileSystem.trimmed(path)
    let manifestPath = "\(path)/\(RunCheckpointManifest.fileName)"
    let bytes = try FileSystem.read(manifestPath)
    let version = try RunCheckpointJSON.decode(FormatVersion.self, bytes, path: manifestPath)
    let readable = RunCheckpointManifest.readableFormatVersions
    guard readable.contains(version.formatVersion) else {
      throw CheckpointError(
        .mismatch, path: manifestPath,
        "formatVersion must be \(readable.lowerBound) to \(readable.upperBound), is "
          + "\(version.formatVersion); it was written by another version of the engine")
    }
    try Self.checkDigest(of: bytes, in: path, isRequired: version.formatVersion >= 3)
    self.path = path
    manifest = try RunCheckpointJSON.decode(
      RunCheckpointManifest.self, bytes, path: manifestPath)
    try manifest.check(path: manifestPath)
    for file in manifest.files {
      let byteCount = try FileSystem.byteCount("\(path)/\(file.name)")
      guard byteCount == file.byteCount else {
        throw CheckpointError(
          .damaged, path: "\(path)/\(file.name)",
          "is \(byteCount) bytes long, the manifest says \(file.byteCount)")
      }
    }
  }

  /// Compares the manifest with the digest beside it.
  private static func checkDigest(
    of bytes: [UInt8], in folder: String, isRequired: Bool
  ) throws(CheckpointError) {
    let path = "\(folder)/\(RunCheckpointManifest.digestFileName)"
    if !isRequired && FileSystem.kind(path) == nil { return }
    let expected = "\(hexadecimal(SHA256.hash(data: bytes)))  \(RunCheckpointManifest.fileName)\n"
    guard try FileSystem.read(path) == Array(expected.utf8) else {
      throw CheckpointError(
        .damaged, path: "\(folder)/\(RunCheckpointManifest.fileName)",
        "does not have the SHA-256 that \(RunCheckpointManifest.digestFileName) says: one of the two "
          + "was changed")
    }
  }

  /// Optimizer steps done when it was made.
  public var step: Int { manifest.step }

  /// Whether retention must not remove it.
  public var isKept: Bool { FileSystem.kind("\(path)/\(Self.keepFileName)") != nil }

  /// Marks it as not to be removed by retention; the mark is a file named `KEEP`.
  public func keep() throws(CheckpointError) {
    _ = try OutputFile(path: "\(path)/\(Self.keepFileName)").finish()
  }

  /// Reads files and compares their digests with the manifest's: all, or this reader's share of them
  /// where `count` readers verify one checkpoint together.
  ///
  /// - Throws: `CheckpointError` naming the first file that differs.
  public func verify(share index: Int = 0, of count: Int = 1) throws(CheckpointError) {
    for (place, file) in manifest.files.enumerated() where place % count == index {
      let path = "\(path)/\(file.name)"
      let digest = try MappedFile(path: path).withBytes { bytes in
        var hasher = SHA256()
        hasher.update(bufferPointer: bytes)
        return hexadecimal(hasher.finalize())
      }
      guard digest == file.sha256 else {
        throw CheckpointError(
          .damaged, path: path, "has SHA-256 \(digest), the manifest says \(file.sha256)")
      }
      try checkPlaces(in: file.name)
    }
  }

  /// Checks that every piece in a file lies in a tensor of its type, and no two in the same elements.
  private func checkPlaces(in name: String) throws(CheckpointError) {
    let pieces = manifest.pieces.filter { $0.file.isExactly(name) }
    guard !pieces.isEmpty else { return }
    let file = try open(name)
    var ends: [ExactText: (end: Int, parameter: String)] = [:]
    for piece in pieces.sorted(by: { $0.offset < $1.offset }) {
      let (dataType, shape, _) = try file.entry(piece.tensor)
      let place = "\(piece.parameter) at \(piece.offset) of tensor \(piece.tensor)"
      guard dataType == piece.dataType else {
        throw CheckpointError(
          .damaged, path: file.path,
          "\(place): the tensor is \(dataType.rawValue), the manifest says \(piece.dataType.rawValue)"
        )
      }
      guard shape.count == 1, piece.length <= shape[0] - piece.offset else {
        throw CheckpointError(
          .damaged, path: file.path,
          "\(place): \(piece.length) elements are not in a tensor of \(shape)")
      }
      if let last = ends[piece.tensor], piece.offset < last.end {
        throw CheckpointError(
          .damaged, path: file.path,
          "\(place): overlaps \(last.parameter), which ends at \(last.end)")
      }
      ends[piece.tensor] = (piece.offset + piece.length, piece.parameter)
    }
  }

  /// The files of a Hugging Face folder beside the weights, by name; empty for a checkpoint of before
  /// version 3, which has none.
  public func modelFiles() throws(CheckpointError) -> [(name: String, bytes: [UInt8])] {
    var files: [(name: String, bytes: [UInt8])] = []
    for name in manifest.modelFiles ?? [] {
      files.append((name, try FileSystem.read("\(path)/\(name)")))
    }
    return files
  }

  /// Opens one of its safetensors files.
  public func open(_ name: String) throws(CheckpointError) -> SafetensorsFile {
    guard manifest.files.contains(where: { $0.name.isExactly(name) }) else {
      throw CheckpointError(.missing, path: path, "has no file \(name)")
    }
    return try SafetensorsFile(path: "\(path)/\(name)")
  }

  /// What is not a tensor, as it was given when the checkpoint was made.
  public func state<State: Decodable>(as type: State.Type) throws(CheckpointError) -> State {
    try RunCheckpointJSON.decode(type, from: "\(path)/\(RunCheckpointManifest.stateFileName)")
  }

  private struct FormatVersion: Decodable {
    var formatVersion: Int
  }
}

/// The digits of a digest.
func hexadecimal(_ digest: some Sequence<UInt8>) -> String {
  digest.reduce(into: "") { text, byte in
    if byte < 16 { text += "0" }
    text += String(byte, radix: 16)
  }
}
