/// Reads a data file only as far as asked, to measure what each stage of reading costs.
public enum DataFileProbe {
  /// The chunks of its bytes, decompressed.
  public static func chunkCount(path: String) throws -> Int {
    let source = try openBytes(path: path)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: readChunkSize, alignment: 16)
    defer { buffer.deallocate() }
    var count = 0
    while try source.read(into: buffer) > 0 { count += 1 }
    return count
  }

  /// Its lines.
  public static func lineCount(path: String) throws -> Int {
    let reader = LineReader(source: try openBytes(path: path), file: path)
    var count = 0
    while try reader.next({ _ in true }) != nil { count += 1 }
    return count
  }
}
