import Foundation

/// The engine executable beside this one.
enum EngineProcess {
  /// Replaces this process by `xtuner-engine` with the same arguments, environment and terminal.
  ///
  /// - Returns: Why that failed; on success there is nobody left to return to.
  static func replaceCurrent(arguments: [String]) -> String {
    guard let own = ownPath() else {
      return "/proc/self/exe: cannot be resolved: \(String(cString: strerror(errno)))"
    }
    let engine = "\(own.prefix(through: own.lastIndex(of: "/") ?? own.startIndex))xtuner-engine"
    // Settings that a library reads when a process starts; what the user has set stays. Large pages for
    // the heap: a model's gigabytes are touched for the first time a second or two faster.
    setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 0)
    // libgomp's threads spin for milliseconds at every barrier before they sleep, which makes a step
    // ten times slower as soon as another process wants a core. 1000 rounds cost nothing when none
    // does.
    setenv("GOMP_SPINCOUNT", "1000", 0)
    let pointers = (["xtuner"] + arguments).map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    execv(engine, pointers)
    let failure = errno
    let reason = String(cString: strerror(failure))
    guard failure == ENOENT else { return "\(engine): cannot be started: \(reason)" }
    return "\(engine): \(reason); xtuner needs it beside itself: build both with `make build`"
  }

  /// The path of this executable, with symbolic links followed.
  private static func ownPath() -> String? {
    guard let pointer = realpath("/proc/self/exe", nil) else { return nil }
    defer { free(pointer) }
    return String(cString: pointer)
  }
}
