import Crypto
import Foundation
import Glibc
import Synchronization

/// Hashes data files, and notices when one changes while its records are read.
public struct DataFileHasher: Sendable {
  private struct Stamp: Sendable, Equatable {
    var byteCount: Int
    var modificationSeconds: Int
    var modificationNanoseconds: Int
    var inode: UInt64
  }

  private static let chunkSize = 1 << 22

  /// The files' identities, in the order given.
  public let identities: [DataFileIdentity]
  private let paths: [String]
  private let stamps: [Stamp]

  /// Reads every file once, on up to `threadCount` threads.
  ///
  /// Throws `TokenCacheError` for a file that is missing or cannot be read.
  public init(paths: [String], threadCount: Int = 1) throws {
    self.paths = paths
    var stamps: [Stamp] = []
    var identities: [DataFileIdentity] = []
    var remaining = paths[...]
    try OrderedWorkers.run(
      threadCount: threadCount,
      next: { remaining.popFirst() },
      transform: { path in (try Self.stamp(of: path), try Self.identity(of: path)) },
      consume: { stamp, identity in
        stamps.append(stamp)
        identities.append(identity)
      })
    self.stamps = stamps
    self.identities = identities
  }

  /// Throws when a file has been changed since it was hashed.
  public func checkUnchanged() throws(TokenCacheError) {
    for (path, stamp) in zip(paths, stamps) where try Self.stamp(of: path) != stamp {
      throw TokenCacheError(
        .sourceChanged,
        "\(path): was changed while its records were read; start again when it is complete")
    }
  }

  private static func stamp(of path: String) throws(TokenCacheError) -> Stamp {
    var status = Glibc.stat()
    guard lstatFollowing(path, &status) == 0 else {
      throw TokenCacheError.system("read", path: path, errno: errno)
    }
    return Stamp(
      byteCount: Int(status.st_size), modificationSeconds: status.st_mtim.tv_sec,
      modificationNanoseconds: status.st_mtim.tv_nsec, inode: UInt64(status.st_ino))
  }

  private static func lstatFollowing(_ path: String, _ status: inout Glibc.stat) -> Int32 {
    fstatat(AT_FDCWD, path, &status, 0)
  }

  private static func identity(of path: String) throws(TokenCacheError) -> DataFileIdentity {
    let descriptor = try OwnedDescriptor(path: path, flags: O_RDONLY)
    var hash = SHA256()
    var byteCount = 0
    var buffer = [UInt8](repeating: 0, count: chunkSize)
    while true {
      let count = read(descriptor.number, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else {
        throw TokenCacheError.system("read", path: path, errno: errno)
      }
      guard count > 0 else { break }
      buffer.withUnsafeBytes { hash.update(bufferPointer: .init(rebasing: $0[..<count])) }
      byteCount += count
    }
    let name = path.split(separator: "/").last.map(String.init) ?? path
    return DataFileIdentity(
      name: name, byteCount: byteCount, sha256: hash.finalize().hexadecimal)
  }
}
