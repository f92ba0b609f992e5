extension RankEnvironment {
  /// Ports of Slurm jobs: below the range that Linux gives to outgoing connections.
  private static let firstSlurmPort = 10_000
  private static let slurmPortCount = 20_000
  /// Steps from this number on are Slurm's own, such as the shell of `salloc` (4294967290).
  private static let firstReservedStep = 4_294_967_280

  /// Whether `srun` has started this process as one of several tasks.
  ///
  /// Shells and batch scripts of a job have most of the variables as well, and are alone. A batch
  /// script even has `SLURM_PROCID`, but no step.
  static func isSlurmStep(_ environment: [String: String]) -> Bool {
    let step = environment["SLURM_STEP_ID"] ?? environment["SLURM_STEPID"]
    if let step {
      if let number = Int(step), number >= firstReservedStep { return false }
    } else if environment["SLURM_PROCID"] == nil || environment["ENVIRONMENT"] == "BATCH" {
      return false
    }
    return environment["SLURM_NTASKS"] != "1"
  }

  static func slurm(
    _ environment: [String: String]
  ) throws(RankEnvironmentError) -> RankEnvironment {
    var reader = EnvironmentReader(environment)
    let worldSize = reader.integer("SLURM_NTASKS", in: 1...Int.max)
    let rank = reader.integer("SLURM_PROCID", in: 0...(worldSize ?? Int.max) - 1)
    let localWorldSize = slurmTasksOfNode(worldSize: worldSize, &reader)
    let localRank = reader.integer("SLURM_LOCALID", in: 0...(localWorldSize ?? Int.max) - 1)
    let address = slurmMasterAddress(&reader)
    let port = slurmMasterPort(&reader)
    let cores = reader.optionalInteger("SLURM_CPUS_PER_TASK", in: 1...Int.max)
    guard let rank, let worldSize, let localRank, let localWorldSize, let address, let port,
      reader.problems.isEmpty
    else { throw RankEnvironmentError(launcher: .slurm, problems: reader.problems) }
    return RankEnvironment(
      rank: rank, worldSize: worldSize, localRank: localRank, localWorldSize: localWorldSize,
      masterAddress: address, masterPort: port, launcher: .slurm, coresPerProcess: cores)
  }

  /// Tasks of this node: the exact list of the step or job, or the number asked for.
  private static func slurmTasksOfNode(
    worldSize: Int?, _ reader: inout EnvironmentReader
  ) -> Int? {
    let limit = 1...(worldSize ?? Int.max)
    for name in ["SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"] {
      guard let text = reader[name] else { continue }
      guard let counts = SlurmList.taskCounts(text) else {
        reader.reject(name, "must be a list such as 2(x3),1, is \(text)")
        return nil
      }
      guard reader["SLURM_NODEID"] != nil || Set(counts).count > 1 else { return counts[0] }
      guard let node = reader.integer("SLURM_NODEID", in: 0...counts.count - 1) else { return nil }
      return counts[node]
    }
    if reader["SLURM_NTASKS_PER_NODE"] != nil {
      return reader.integer("SLURM_NTASKS_PER_NODE", in: limit)
    }
    let nodes = nodeListVariables.compactMap { reader[$0] }.first
    if let nodes, !nodes.contains(","), !nodes.contains("[") { return worldSize }
    return reader.integer("SLURM_NTASKS_PER_NODE", in: limit)
  }

  private static let nodeListVariables = [
    "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST",
  ]

  /// The first node, where rank 0 runs, unless `MASTER_ADDR` names another.
  private static func slurmMasterAddress(_ reader: inout EnvironmentReader) -> String? {
    if let address = reader["MASTER_ADDR"] { return address }
    guard let name = nodeListVariables.first(where: { reader[$0] != nil }),
      let text = reader[name]
    else {
      reader.reject("SLURM_JOB_NODELIST", "is not set")
      return nil
    }
    guard let host = SlurmList.firstHost(text) else {
      reader.reject(name, "must be a list of nodes such as node[01-03,7],other2, is \(text)")
      return nil
    }
    return host
  }

  /// A port that all ranks compute from the job and its step, unless `MASTER_PORT` gives one.
  private static func slurmMasterPort(_ reader: inout EnvironmentReader) -> Int? {
    if reader["MASTER_PORT"] != nil { return reader.integer("MASTER_PORT", in: 1...65535) }
    let name =
      reader["SLURM_JOB_ID"] == nil && reader["SLURM_JOBID"] != nil
      ? "SLURM_JOBID" : "SLURM_JOB_ID"
    guard let job = reader.integer(name, in: 0...Int(UInt32.max)) else { return nil }
    let step = Int(reader["SLURM_STEP_ID"] ?? reader["SLURM_STEPID"] ?? "") ?? 0
    // A prime, so that steps of one job do not meet those of the jobs started after it.
    return firstSlurmPort + (job + 7919 * (step % slurmPortCount)) % slurmPortCount
  }
}

/// Slurm's compressed lists.
enum SlurmList {
  /// The first host of `node[01-03,7],other2`; nil for a text that is no such list.
  static func firstHost(_ text: String) -> String? {
    var host = ""
    var rest = text[...]
    while let next = rest.first, next != "," {
      rest = rest.dropFirst()
      guard next == "[" else {
        guard next != "]", !next.isWhitespace else { return nil }
        host.append(next)
        continue
      }
      guard let end = rest.firstIndex(of: "]") else { return nil }
      let number = rest[..<end].prefix { $0 != "-" && $0 != "," }
      guard !number.isEmpty, number.allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
      host += number
      rest = rest[rest.index(after: end)...]
    }
    return host.isEmpty ? nil : host
  }

  /// The counts of `2(x3),1`: 2, 2, 2, 1; nil for a text that is no such list.
  static func taskCounts(_ text: String) -> [Int]? {
    var counts: [Int] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let pieces = part.split(separator: "(", omittingEmptySubsequences: false)
      guard let count = Int(pieces[0]), count > 0, pieces.count <= 2 else { return nil }
      guard pieces.count == 2 else {
        counts.append(count)
        continue
      }
      guard pieces[1].hasPrefix("x"), pieces[1].hasSuffix(")"),
        let repeats = Int(pieces[1].dropFirst().dropLast()), (1...1_000_000).contains(repeats)
      else { return nil }
      counts += Array(repeating: count, count: repeats)
    }
    return counts.isEmpty ? nil : counts
  }
}
