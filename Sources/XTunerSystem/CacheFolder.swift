/// Where a user's caches are.
public enum CacheFolder {
  /// `$XDG_CACHE_HOME`, or `.cache` in the home folder.
  ///
  /// - Parameters:
  ///   - environment: The variables of the process.
  ///   - account: The home folder of the user's account, for a process without `$HOME`.
  /// - Returns: An absolute path, unless the account's is none. As the XDG base directory
  ///   specification asks, a relative path in the variable is as good as none.
  public static func path(environment: [String: String], account: String) -> String {
    if let path = environment["XDG_CACHE_HOME"], path.hasPrefix("/") { return path }
    let home = environment["HOME"] ?? ""
    return "\(home.hasPrefix("/") ? home : account)/.cache"
  }
}
