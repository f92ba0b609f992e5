import Foundation

/// What the kernel says about this process and the rest of the machine.
struct MachineLoad {
  private let time: Double
  private let busySeconds: Double
  private let ownSeconds: Double

  /// The counters as they are now.
  static func now() -> MachineLoad {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return MachineLoad(
      time: clockSeconds(CLOCK_MONOTONIC), busySeconds: machineBusySeconds(),
      ownSeconds: seconds(usage.ru_utime) + seconds(usage.ru_stime))
  }

  /// Cores that other processes have kept busy since these counters were read.
  func othersSince() -> Double {
    let later = MachineLoad.now()
    let others = (later.busySeconds - busySeconds) - (later.ownSeconds - ownSeconds)
    return max(0, others / max(later.time - time, 1e-9))
  }

  /// Waits until other processes use less than `limit` cores for one second, or for `patience`
  /// seconds.
  static func waitUntilQuiet(limit: Double, patience: Double) {
    let end = clockSeconds(CLOCK_MONOTONIC) + patience
    while clockSeconds(CLOCK_MONOTONIC) < end {
      let start = now()
      Thread.sleep(forTimeInterval: 1)
      if start.othersSince() < limit { return }
    }
  }

  /// Seconds of processor time that this process has spent in the kernel.
  static func systemSeconds() -> Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return seconds(usage.ru_stime)
  }

  /// The largest resident memory of this process so far, in KiB, as the kernel counts it.
  static func peakResidentKibibytes() -> Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss
  }

  /// Seconds since this process was started (kernel clock, 10 ms grain); nil without `/proc`.
  static func processAge() -> Double? {
    guard let text = try? String(contentsOfFile: "/proc/self/stat", encoding: .utf8),
      let end = text.lastIndex(of: ")")
    else { return nil }
    // Field 22 of the file; the name in parentheses is field 2 and may hold spaces.
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 19, let ticks = Double(fields[19]) else { return nil }
    return clockSeconds(CLOCK_BOOTTIME) - ticks / ticksPerSecond
  }

  private static var ticksPerSecond: Double { Double(sysconf(Int32(_SC_CLK_TCK))) }

  /// Seconds that all cores together were busy: user, nice, system, irq, softirq, steal.
  private static func machineBusySeconds() -> Double {
    guard let text = try? String(contentsOfFile: "/proc/stat", encoding: .utf8),
      let line = text.split(separator: "\n").first
    else { return 0 }
    let ticks = line.split(separator: " ").dropFirst().compactMap { Double($0) }
    guard ticks.count >= 8 else { return 0 }
    return [0, 1, 2, 5, 6, 7].reduce(0.0) { $0 + ticks[$1] } / ticksPerSecond
  }

  private static func clockSeconds(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  private static func seconds(_ time: timeval) -> Double {
    Double(time.tv_sec) + Double(time.tv_usec) * 1e-6
  }
}
