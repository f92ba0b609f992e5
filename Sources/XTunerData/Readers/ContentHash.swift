import Crypto

extension RecordSource {
  /// SHA-256 in hexadecimal over the bytes and sizes of files in order, for cache keys.
  ///
  /// Names do not enter, so that a moved file keeps its hash. Compressed files are hashed as they
  /// are stored.
  ///
  /// - Throws: `DataReadError` for a file that cannot be read.
  public static func contentHash(of files: [String]) throws(DataReadError) -> String {
    var hash = SHA256()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: readChunkSize, alignment: 16)
    defer { buffer.deallocate() }
    for path in files {
      let file = try FileBytes(path: path)
      var size: UInt64 = 0
      while true {
        let count = try file.read(into: buffer)
        if count == 0 { break }
        size += UInt64(count)
        hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      }
      withUnsafeBytes(of: size.littleEndian) { hash.update(bufferPointer: $0) }
    }
    return hash.finalize().map { byte in
      let text = String(byte, radix: 16)
      return byte < 16 ? "0\(text)" : text
    }.joined()
  }
}
