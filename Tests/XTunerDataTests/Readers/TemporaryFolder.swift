import CZlib
import CZstd
import Foundation

/// A folder for one test, removed with the value.
final class TemporaryFolder {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Writes a file, with the folders above it, and returns its path.
  func write(_ name: String, _ bytes: some Sequence<UInt8>) throws -> String {
    let file = "\(path)/\(name)"
    let folder = URL(fileURLWithPath: file).deletingLastPathComponent().path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    return file
  }

  func write(_ name: String, _ text: String) throws -> String { try write(name, text.utf8) }
}

func gzipped(_ text: String) -> [UInt8] {
  var input = Array(text.utf8)
  var output = [UInt8](repeating: 0, count: input.count + 1000)
  var stream = z_stream()
  return input.withUnsafeMutableBufferPointer { input in
    let size = output.withUnsafeMutableBufferPointer { output in
      deflateInit2_(
        &stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
        Int32(MemoryLayout<z_stream>.size))
      stream.next_in = input.baseAddress
      stream.avail_in = UInt32(input.count)
      stream.next_out = output.baseAddress
      stream.avail_out = UInt32(output.count)
      deflate(&stream, Z_FINISH)
      deflateEnd(&stream)
      return Int(stream.total_out)
    }
    return Array(output[..<size])
  }
}

func zstdCompressed(_ text: String) -> [UInt8] {
  let input = Array(text.utf8)
  var output = [UInt8](repeating: 0, count: ZSTD_compressBound(input.count))
  let size = ZSTD_compress(&output, output.count, input, input.count, 3)
  return Array(output[..<size])
}
