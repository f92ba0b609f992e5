import Foundation

/// How many processors a process may keep busy.
public enum ProcessorCount {
  /// The processors that this process may run on, and no more than its control groups let it use.
  ///
  /// A container with a quota of one CPU sees all processors of its machine; threads beyond the quota
  /// are stopped for most of every tenth of a second, in the middle of what others wait for.
  ///
  /// - Parameters:
  ///   - processorCount: Processors that the process may run on; nil asks the system.
  ///   - root: The folder of the system's files; another one in tests.
  /// - Returns: At least 1; a quota of two and a half is 2.
  public static func available(processorCount: Int? = nil, root: String = "/") -> Int {
    let count = processorCount ?? ProcessInfo.processInfo.activeProcessorCount
    guard let quota = quota(root: root) else { return max(count, 1) }
    return max(1, min(count, Int(quota)))
  }

  /// Processors that the control groups' quotas amount to; nil where there is no quota.
  static func quota(root: String) -> Double? {
    var quotas: [Double] = []
    for line in text("\(root)/proc/self/cgroup").split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let controllers = fields[1].split(separator: ",")
      guard controllers.isEmpty || controllers.contains("cpu") else { continue }
      // A container may see its own group as the root; then the path leads nowhere, and the root counts.
      for folder in folders(String(fields[2])) {
        let quota =
          controllers.isEmpty
          ? unified("\(root)/sys/fs/cgroup\(folder)/cpu.max")
          : legacy("\(root)/sys/fs/cgroup/cpu\(folder)")
        if let quota { quotas.append(quota) }
      }
    }
    return quotas.min()
  }

  /// A path and those above it: `/a/b`, `/a` and nothing.
  private static func folders(_ path: String) -> [String] {
    var result = [""]
    for part in path.split(separator: "/") { result.append("\(result[result.count - 1])/\(part)") }
    return result
  }

  /// `150000 100000`: microseconds of processors in each period; `max` for no limit.
  private static func unified(_ path: String) -> Double? {
    let numbers = text(path).split(whereSeparator: \.isWhitespace).map { Double(String($0)) }
    guard numbers.count == 2, let quota = numbers[0], let period = numbers[1], period > 0 else {
      return nil
    }
    return quota / period
  }

  private static func legacy(_ folder: String) -> Double? {
    func number(_ name: String) -> Double? {
      Double(String(text("\(folder)/\(name)").prefix { !$0.isWhitespace }))
    }
    guard let quota = number("cpu.cfs_quota_us"), quota > 0,
      let period = number("cpu.cfs_period_us"), period > 0
    else { return nil }
    return quota / period
  }

  /// A small file of the system; empty where it cannot be read.
  private static func text(_ path: String) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 1 << 14)
    let count = read(descriptor, &bytes, bytes.count)
    return count > 0 ? String(decoding: bytes.prefix(count), as: UTF8.self) : ""
  }
}
