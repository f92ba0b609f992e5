import CZlib

/// The contents of a gzip file, of all its members.
final class GzipBytes: ByteSource {
  private let path: String
  private var input: CompressedInput
  // zlib keeps the address of its stream, so that the stream must not move.
  private let stream: UnsafeMutablePointer<z_stream>
  private var isBetweenMembers = false

  init(file: FileBytes) throws(DataReadError) {
    path = file.path
    input = CompressedInput(file: file)
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    let largestWindowWithGzipHeader: Int32 = 15 + 16
    let status = inflateInit2_(
      stream, largestWindowWithGzipHeader, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    if status != Z_OK {
      throw DataReadError(.unreadableFile, "zlib cannot be started (\(status))", file: path)
    }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  func read(into buffer: UnsafeMutableRawBufferPointer) throws(DataReadError) -> Int {
    while true {
      try input.refill()
      if isBetweenMembers {
        if try !startsNextMember() { return 0 }
      } else if input.isAtEnd {
        throw DataReadError(.damagedFile, "the gzip file is cut off before its end", file: path)
      }
      let count = try inflateOnce(into: buffer)
      if count > 0 { return count }
    }
  }

  /// Skips zero padding after a member, and prepares for another one if there is one.
  private func startsNextMember() throws(DataReadError) -> Bool {
    while !input.isAtEnd {
      while input.start < input.end, input.bytes[input.start] == 0 { input.start += 1 }
      if input.start < input.end {
        inflateReset(stream)
        isBetweenMembers = false
        return true
      }
      try input.refill()
    }
    return false
  }

  private func inflateOnce(
    into buffer: UnsafeMutableRawBufferPointer
  ) throws(DataReadError) -> Int {
    let source = input.bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.next_in = source.map { $0 + input.start }
    stream.pointee.avail_in = UInt32(input.end - input.start)
    stream.pointee.next_out = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
    let capacity = min(buffer.count, Int(UInt32.max))
    stream.pointee.avail_out = UInt32(capacity)
    let status = inflate(stream, Z_NO_FLUSH)
    input.start = input.end - Int(stream.pointee.avail_in)
    switch status {
    case Z_STREAM_END: isBetweenMembers = true
    case Z_OK, Z_BUF_ERROR: break
    default:
      let reason = stream.pointee.msg.map { String(cString: $0) } ?? "status \(status)"
      throw DataReadError(.damagedFile, "the gzip file is damaged: \(reason)", file: path)
    }
    return capacity - Int(stream.pointee.avail_out)
  }
}
