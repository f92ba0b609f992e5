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
  /// Sizes are compared; digests are not, see `verify()`.
  ///
  /// - Throws: `CheckpointError` where the manifest is absent, damaged or of another version, or
  ///   where a file is absent or of another size.
  public init(path: String) throws(CheckpointError) {
    let path = FileSystem.trimmed(path)
    let manifestPath = "\(path)/\(RunCheckpointManifest.fileName)"
    let version = try RunCheckpointJSON.decode(FormatVersion.self, from: manifestPath)
    let readable = RunCheckpointManifest.readableFormatVersions
    guard readable.contains(version.formatVersion) else {
      throw CheckpointError(
        .mismatch, path: manifestPath,
        "formatVersion must be \(readable.lowerBound) to \(readable.upperBound), is "
          + "\(version.formatVersion); it was written by another version of the engine")
    }
    self.path = path
    manifest = try RunCheckpointJSON.decode(RunCheckpointManifest.self, from: manifestPath)
    for file in manifest.files {
      guard FileSystem.isPlainName(file.name) else {
        throw CheckpointError(.damaged, path: manifestPath, "\(file.name) is not a plain file name")
      }
      let byteCount = try FileSystem.byteCount("\(path)/\(file.name)")
      guard byteCount == file.byteCount else {
        throw CheckpointError(
          .damaged, path: "\(path)/\(file.name)",
          "is \(byteCount) bytes long, the manifest says \(file.byteCount)")
      }
    }
    let names = Set<ExactText>(manifest.files.map(\.name))
    for piece in manifest.pieces where !names.contains(piece.file) {
      throw CheckpointError(
        .damaged, path: manifestPath,
        "\(piece.parameter) is in \(piece.file), which is not listed among the files")
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
    }
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
