import Foundation
import Glibc
import XTunerSystem

/// A folder of tokenised caches, one for each key, shared by any number of processes.
///
/// No process waits for another: each writer fills a folder of its own and renames it into place;
/// the first one wins and the others use its result. A cache that fails its checks is replaced.
public struct TokenCacheStore: Sendable {
  /// The folder of all caches.
  public let folder: String
  /// How far a cache found on disk is checked before it is used.
  public let verification: CacheVerification

  /// What the store holds for a key.
  public enum Lookup: Sendable {
    /// A cache that passed its checks.
    case found(TokenCache)
    /// Nothing.
    case absent
    /// A cache that must be rebuilt, and why.
    case unusable(reason: String)
  }

  /// A folder without a lock is somebody's who is just starting, for this many seconds.
  private static let startingSeconds = 60
  private static let publishAttempts = 8

  /// Names a store; nothing is read or made before it is used.
  public init(folder: String, verification: CacheVerification = .full) {
    self.folder = folder
    self.verification = verification
  }

  /// Looks for the cache of a key; throws only for problems of the disk itself.
  public func lookup(_ key: TokenCacheKey) throws -> Lookup {
    try lookup(digest: key.digest(), verification: verification)
  }

  /// Deletes what dead writers have left; returns how many folders.
  ///
  /// Errors are not reported: the next call tries again.
  @discardableResult
  public func removeAbandonedFolders() -> Int {
    removeAbandonedFolders(startingSeconds: Self.startingSeconds)
  }

  func lookup(digest: String, verification: CacheVerification) throws(TokenCacheError) -> Lookup {
    let path = path(digest)
    guard access(path, F_OK) == 0 else { return .absent }
    do {
      return .found(try TokenCache(folder: path, key: digest, verification: verification))
    } catch {
      switch error.code {
      case .notFound, .unusable, .fileSystem:
        return .unusable(reason: error.message)
      case .diskFull, .sourceChanged:
        throw error
      }
    }
  }

  func makeFolder() throws(TokenCacheError) {
    do {
      try FileManager.default.createDirectory(
        atPath: folder, withIntermediateDirectories: true)
    } catch {
      throw TokenCacheError(
        .fileSystem,
        "\(folder): the cache folder cannot be made: \(SystemReason.text(error))")
    }
    guard access(folder, W_OK | X_OK) == 0 else {
      throw TokenCacheError.system("write to the cache folder", path: folder, errno: errno)
    }
  }

  /// Renames a complete folder into place, or uses the cache that another writer put there first.
  func publish(_ finished: String, digest: String) throws(TokenCacheError) -> TokenCache {
    let target = path(digest)
    for _ in 0..<Self.publishAttempts {
      if rename(finished, target) == 0 {
        try OwnedDescriptor(path: folder, flags: O_RDONLY | O_DIRECTORY).synchronize()
        return try TokenCache(folder: target, key: digest, verification: .sizes)
      }
      guard errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR else {
        throw TokenCacheError.system("rename into place", path: target, errno: errno)
      }
      switch try lookup(digest: digest, verification: .full) {
      case .found(let winner):
        removeFolder(finished)
        return winner
      case .absent:
        continue
      case .unusable:
        // Out of the way by one rename, so that nobody ever sees half of it.
        let aside = "\(folder)/.unusable-\(UUID().uuidString)\(TokenCacheWriter.folderSuffix)"
        if rename(target, aside) == 0 {
          removeFolder(aside)
        }
      }
    }
    throw TokenCacheError(
      .fileSystem, "\(target): is replaced by other processes again and again")
  }

  func removeFolder(_ path: String) {
    do {
      try FileManager.default.removeItem(atPath: path)
    } catch {
      // Somebody else may be deleting it too; what remains is found by the next clean-up.
    }
  }

  func removeAbandonedFolders(startingSeconds: Int) -> Int {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    var removedCount = 0
    for name in names
    where name.hasPrefix(".") && name.hasSuffix(TokenCacheWriter.folderSuffix) {
      let path = "\(folder)/\(name)"
      if isAbandoned(path, startingSeconds: startingSeconds) {
        removeFolder(path)
        removedCount += 1
      }
    }
    return removedCount
  }

  private func isAbandoned(_ path: String, startingSeconds: Int) -> Bool {
    do {
      let lock = try OwnedDescriptor(
        path: "\(path)/\(TokenCacheWriter.lockName)", flags: O_RDONLY)
      return lock.tryLock()
    } catch {
      guard error.code == .notFound else { return false }
      var status = stat()
      guard fstatat(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return false }
      return time(nil) - status.st_mtim.tv_sec >= startingSeconds
    }
  }

  private func path(_ digest: String) -> String { "\(folder)/\(digest)" }
}
