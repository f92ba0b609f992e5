#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Hands out the lines of a byte stream one by one from a buffer that grows to the longest line.
///
/// Lines end with `\n` or `\r\n`; the last one may lack its end. A UTF-8 byte order mark at the
/// beginning is dropped.
final class LineReader {
  private let file: String
  private let source: any ByteSource
  private let limit: RecordSizeLimit
  private var buffer: UnsafeMutableRawBufferPointer
  private var start = 0
  private var end = 0
  private var isAtEnd = false
  /// Number of the line that was handed out last, counted from 1.
  private(set) var lineNumber = 0

  init(
    source: any ByteSource, file: String, limit: RecordSizeLimit = .default
  ) {
    self.source = source
    self.file = file
    self.limit = limit
    buffer = .allocate(byteCount: readChunkSize, alignment: 16)
  }

  deinit { buffer.deallocate() }

  /// Passes the next line to `body`, without its end; the bytes are valid only inside of `body`.
  ///
  /// Returns nil at the end of the stream.
  func next<Result>(
    _ body: (UnsafeBufferPointer<UInt8>) throws -> Result
  ) throws -> Result? {
    guard let range = try nextRange() else { return nil }
    return try body(UnsafeRawBufferPointer(buffer)[range].asBytes)
  }

  private func nextRange() throws(DataReadError) -> Range<Int>? {
    var searched = start
    while true {
      if let newline = newlineOffset(from: searched) {
        let line = start..<newline
        start = newline + 1
        return try finish(line)
      }
      searched = end
      if isAtEnd {
        guard start < end else { return nil }
        let line = start..<end
        start = end
        return try finish(line)
      }
      let moved = start
      try fill()
      searched -= moved
    }
  }

  private func newlineOffset(from offset: Int) -> Int? {
    guard offset < end, let base = buffer.baseAddress,
      let found = memchr(base + offset, 0x0A, end - offset)
    else { return nil }
    return UnsafeRawPointer(found) - UnsafeRawPointer(base)
  }

  /// Moves the unread bytes to the front, makes room if there is none, and reads more.
  private func fill() throws(DataReadError) {
    let unread = end - start
    try limit.check(unread, file: file, line: lineNumber + 1)
    if start > 0, let base = buffer.baseAddress { memmove(base, base + start, unread) }
    (start, end) = (0, unread)
    if end == buffer.count {
      let larger = UnsafeMutableRawBufferPointer.allocate(
        byteCount: min(buffer.count * 2, limit.byteCount + readChunkSize), alignment: 16)
      larger.copyMemory(from: UnsafeRawBufferPointer(buffer))
      buffer.deallocate()
      buffer = larger
    }
    let free = UnsafeMutableRawBufferPointer(rebasing: buffer[end...])
    let count = try source.read(into: free)
    end += count
    isAtEnd = count == 0
  }

  /// Drops what does not belong to the text of a line: a byte order mark and a carriage return.
  private func finish(_ line: Range<Int>) throws(DataReadError) -> Range<Int> {
    lineNumber += 1
    var line = line
    if lineNumber == 1 {
      let bytes = buffer[line]
      if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { line = (line.lowerBound + 3)..<line.upperBound }
      if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
        throw DataReadError(
          .invalidText, "the file is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 IN > OUT",
          file: file)
      }
    }
    if let last = line.last, buffer[last] == 0x0D { line = line.lowerBound..<last }
    return line
  }
}

extension Slice<UnsafeRawBufferPointer> {
  fileprivate var asBytes: UnsafeBufferPointer<UInt8> {
    UnsafeRawBufferPointer(rebasing: self).assumingMemoryBound(to: UInt8.self)
  }
}

/// Whether a line holds nothing but white space.
func isBlank(_ line: UnsafeBufferPointer<UInt8>) -> Bool {
  line.allSatisfy { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }
}
