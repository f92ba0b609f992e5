import Glibc

/// Folders that are made where they are missing.
public enum Folders {
  /// Makes a folder and those above it; the process's umask decides who may use them.
  ///
  /// - Parameters:
  ///   - path: The folder.
  ///   - made: Gets the folders that were not there, outermost first.
  /// - Returns: The error number of the failure; nil when the folder is there.
  public static func make(_ path: String, made: inout [String]) -> Int32? {
    var partial = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      partial += partial.isEmpty || partial.hasSuffix("/") ? String(part) : "/\(part)"
      if mkdir(partial, 0o777) == 0 {
        made.append(partial)
        continue
      }
      let failure = errno
      var status = stat()
      let isFolder = stat(partial, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
      // mkdir on a read-only disk may report EROFS for a folder that is there.
      guard isFolder else { return failure }
    }
    return nil
  }

  /// Makes a folder and those above it.
  ///
  /// - Returns: The error number of the failure; nil when the folder is there.
  public static func make(_ path: String) -> Int32? {
    var made: [String] = []
    return make(path, made: &made)
  }
}
