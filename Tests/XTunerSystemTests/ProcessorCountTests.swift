import Foundation
import Testing

@testable import XTunerSystem

@Suite struct ProcessorCountTests {
  /// A folder with the system's files of a process.
  private func withSystem<Result>(
    _ files: [String: String], _ body: (_ root: String) throws -> Result
  ) throws -> Result {
    let root = FileManager.default.temporaryDirectory
      .appendingPathComponent("xtuner-system-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: root) }
    for (path, text) in files {
      let file = root.appendingPathComponent(path)
      try FileManager.default.createDirectory(
        at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(text.utf8).write(to: file)
    }
    return try body(root.path)
  }

  @Test func theQuotaOfTheGroupOrOfOneAboveItIsTheLimit() throws {
    let files = [
      "proc/self/cgroup": "0::/pod/task\n", "sys/fs/cgroup/cpu.max": "max 100000\n",
      "sys/fs/cgroup/pod/cpu.max": "350000 100000\n",
      "sys/fs/cgroup/pod/task/cpu.max": "500000 100000\n",
    ]
    try withSystem(files) { root in
      #expect(ProcessorCount.quota(root: root) == 3.5)
      #expect(ProcessorCount.available(processorCount: 7, root: root) == 3)
      #expect(ProcessorCount.available(processorCount: 2, root: root) == 2)
    }
  }

  /// A container sees its own group as the root, and may read its path from outside.
  @Test func aPathThatLeadsNowhereLeavesTheRoot() throws {
    let files = [
      "proc/self/cgroup": "0::/docker/0123\n", "sys/fs/cgroup/cpu.max": "50000 100000\n",
    ]
    try withSystem(files) { root in
      #expect(ProcessorCount.available(processorCount: 5, root: root) == 1)
    }
  }

  @Test func groupsOfTheFirstVersionCountToo() throws {
    let files = [
      "proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/a\n1:name=systemd:/a\n",
      "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "200000\n",
      "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
      "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
      "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    ]
    try withSystem(files) { root in
      #expect(ProcessorCount.available(processorCount: 7, root: root) == 2)
    }
  }

  @Test func withoutAQuotaAllProcessorsCount() throws {
    for files in [[:], ["proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"]] {
      try withSystem(files) { root in
        #expect(ProcessorCount.quota(root: root) == nil)
        #expect(ProcessorCount.available(processorCount: 7, root: root) == 7)
      }
    }
    #expect(ProcessorCount.available() >= 1)
  }
}
