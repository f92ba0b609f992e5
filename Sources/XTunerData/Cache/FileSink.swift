import Crypto
import Glibc

/// A file written through a buffer, with its size and SHA-256 kept on the way.
struct FileSink: ~Copyable {
  private static let bufferSize = 1 << 20

  private let descriptor: OwnedDescriptor
  private var buffer: [UInt8] = []
  private var hash = SHA256()
  private(set) var byteCount = 0

  init(descriptor: consuming OwnedDescriptor) {
    self.descriptor = descriptor
    buffer.reserveCapacity(Self.bufferSize)
  }

  mutating func append(_ bytes: UnsafeRawBufferPointer) throws(TokenCacheError) {
    if buffer.count + bytes.count > Self.bufferSize {
      try flush()
    }
    if bytes.count > Self.bufferSize {
      try put(bytes)
    } else {
      buffer.append(contentsOf: bytes)
    }
  }

  mutating func append(_ byte: UInt8) throws(TokenCacheError) {
    if buffer.count == Self.bufferSize {
      try flush()
    }
    buffer.append(byte)
  }

  /// The elements' bytes in the machine's (little-endian) order.
  mutating func append<Element: FixedWidthInteger>(
    _ elements: [Element]
  ) throws(TokenCacheError) {
    try elements.withUnsafeBufferPointer { (elements) throws(TokenCacheError) in
      try append(UnsafeRawBufferPointer(elements))
    }
  }

  /// Writes what is left, waits for the disk and closes the file.
  consuming func finish() throws(TokenCacheError) -> TokenCacheFile {
    try flush()
    try descriptor.synchronize()
    return TokenCacheFile(byteCount: byteCount, sha256: hash.finalize().hexadecimal)
  }

  private mutating func flush() throws(TokenCacheError) {
    let bytes = buffer
    buffer.removeAll(keepingCapacity: true)
    try bytes.withUnsafeBufferPointer { (bytes) throws(TokenCacheError) in
      try put(UnsafeRawBufferPointer(bytes))
    }
  }

  private mutating func put(_ bytes: UnsafeRawBufferPointer) throws(TokenCacheError) {
    try descriptor.write(bytes)
    hash.update(bufferPointer: bytes)
    byteCount += bytes.count
  }
}

extension SHA256.Digest {
  /// Lower-case hexadecimal digits.
  var hexadecimal: String {
    let digits = Array("0123456789abcdef".utf8)
    return String(
      decoding: flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }
}
