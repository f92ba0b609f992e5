import Crypto
import Glibc

/// A whole file mapped read-only into memory.
///
/// `@unchecked Sendable`: the mapping is never written to and lives as long as the object.
final class MappedFile: @unchecked Sendable {
  let path: String
  let bytes: UnsafeRawBufferPointer

  init(_ descriptor: borrowing OwnedDescriptor) throws(TokenCacheError) {
    path = descriptor.path
    let byteCount = try descriptor.byteCount()
    guard byteCount > 0 else {
      // An empty file cannot be mapped.
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    let address = mmap(nil, byteCount, PROT_READ, MAP_SHARED, descriptor.number, 0)
    guard let address, address != MAP_FAILED else {
      throw TokenCacheError.system("map", path: path, errno: errno)
    }
    bytes = UnsafeRawBufferPointer(start: address, count: byteCount)
  }

  deinit {
    if let address = bytes.baseAddress {
      munmap(UnsafeMutableRawPointer(mutating: address), bytes.count)
    }
  }

  /// SHA-256 of the contents; reads the whole file.
  func sha256() -> String {
    var hash = SHA256()
    hash.update(bufferPointer: bytes)
    return hash.finalize().hexadecimal
  }

  /// The `count` elements from `byteOffset`, which must be aligned and inside the file.
  func elements<Element: FixedWidthInteger>(
    _ type: Element.Type, at byteOffset: Int, count: Int
  ) -> UnsafeBufferPointer<Element> {
    let end = byteOffset + count * MemoryLayout<Element>.stride
    precondition(end <= bytes.count, "range ends behind the mapping")
    return UnsafeRawBufferPointer(rebasing: bytes[byteOffset..<end]).assumingMemoryBound(to: type)
  }
}
