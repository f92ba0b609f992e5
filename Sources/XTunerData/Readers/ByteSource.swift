#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A stream of bytes: a file, or the contents of a compressed file.
protocol ByteSource: AnyObject {
  /// Fills the beginning of the buffer and returns how many bytes it got; 0 only at the end.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws(DataReadError) -> Int
}

/// How many bytes are asked of a file at once.
let readChunkSize = 1 << 18

/// The bytes of a file as they are.
final class FileBytes: ByteSource {
  let path: String
  /// Size of the file as it was opened.
  let byteCount: Int
  private let descriptor: Int32

  init(path: String) throws(DataReadError) {
    self.path = path
    // Without O_NONBLOCK a named pipe that nobody writes to would be waited for without end.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      let reason = String(cString: strerror(errno))
      throw DataReadError(.unreadableFile, "cannot be opened: \(reason)", file: path)
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw DataReadError(
        .unreadableFile,
        "is not a regular file; data is read more than once, so write it to a file first",
        file: path)
    }
    self.descriptor = descriptor
    byteCount = Int(status.st_size)
  }

  deinit { close(descriptor) }

  func read(into buffer: UnsafeMutableRawBufferPointer) throws(DataReadError) -> Int {
    while true {
      #if canImport(Glibc)
      let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
      #else
      let count = Darwin.read(descriptor, buffer.baseAddress, buffer.count)
      #endif
      if count >= 0 { return count }
      if errno == EINTR { continue }
      let reason = String(cString: strerror(errno))
      throw DataReadError(.unreadableFile, "cannot be read: \(reason)", file: path)
    }
  }
}

/// A buffer of compressed bytes that a decoder works through.
struct CompressedInput: ~Copyable {
  let bytes: UnsafeMutableRawBufferPointer
  private let file: FileBytes
  /// The part of `bytes` that holds data not yet decoded.
  var start = 0
  var end = 0
  private(set) var isAtEnd = false

  init(file: FileBytes) {
    self.file = file
    bytes = .allocate(byteCount: readChunkSize, alignment: 16)
  }

  deinit { bytes.deallocate() }

  /// Reads more when everything has been decoded.
  mutating func refill() throws(DataReadError) {
    guard start == end, !isAtEnd else { return }
    start = 0
    end = try file.read(into: bytes)
    isAtEnd = end == 0
  }
}

/// Opens a file, decompressing by the end of its name.
///
/// `limit` bounds the window of a zstd file, which is memory that the file asks for.
func openBytes(path: String, limit: RecordSizeLimit = .default) throws(DataReadError)
  -> any ByteSource
{
  let file = try FileBytes(path: path)
  switch Compression(path: path) {
  case .none: return file
  case .gzip: return try GzipBytes(file: file)
  case .zstd: return try ZstdBytes(file: file, limit: limit)
  }
}

/// The most bytes that one record may take, so that a small compressed file cannot fill the memory.
struct RecordSizeLimit: Sendable, Hashable {
  static let `default` = RecordSizeLimit(byteCount: RecordSource.defaultMaximumRecordSize)

  let byteCount: Int

  /// Throws when a record that begins on `line` has come to more than the limit.
  func check(_ size: Int, file: String, line: Int) throws(DataReadError) {
    guard size > byteCount else { return }
    throw DataReadError(
      .damagedFile,
      """
      the record is larger than \(byteCount) bytes; is the file what it seems? Otherwise raise \
      data.max_record_bytes
      """, file: file, line: line)
  }

  /// The base-2 logarithm of the largest window that fits: at least 8 MiB, which every decoder is to
  /// support (RFC 8878, section 3.1.1.1.2), and at most the 2 GiB that zstd has.
  var windowLog: Int32 {
    Int32(min(max(Int.bitWidth - 1 - byteCount.leadingZeroBitCount, 23), 31))
  }
}

/// How a file is compressed.
enum Compression: Sendable {
  case none, gzip, zstd

  init(path: String) {
    let name = path.lowercased()
    if name.hasSuffix(".gz") {
      self = .gzip
    } else if name.hasSuffix(".zst") {
      self = .zstd
    } else {
      self = .none
    }
  }

  /// The end of the name that stands for this compression.
  var suffix: String {
    switch self {
    case .none: ""
    case .gzip: ".gz"
    case .zstd: ".zst"
    }
  }
}
