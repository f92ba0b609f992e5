import Testing

@testable import XTunerRun
@testable import XTunerLaunch

@Suite struct RankEnvironmentTests {
  static let torchrun = [
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node7", "MASTER_PORT": "29501", "TORCHELASTIC_USE_AGENT_STORE": "True",
  ]

  private func problems(_ environment: [String: String]) -> [String] {
    do throws(RankEnvironmentError) {
      let found = try RankEnvironment.detect(environment)
      return ["no error: \(found)"]
    } catch {
      return error.problems.map { "\($0.variable) \($0.reason)" }
    }
  }

  @Test(arguments: [
    [:], ["PATH": "/bin"], ["RANK": "", "MASTER_ADDR": ""],
    // A shell of salloc, a batch script, and srun with one task.
    ["SLURM_NTASKS": "8", "SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "n[1-2]"],
    ["SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967290"],
    ["SLURM_NTASKS": "8", "SLURM_PROCID": "0", "ENVIRONMENT": "BATCH"],
    ["SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"],
  ])
  func aProcessWithoutLauncherIsAlone(environment: [String: String]) throws {
    #expect(try RankEnvironment.detect(environment) == .single)
  }

  @Test func torchrunSaysEverything() throws {
    let found = try RankEnvironment.detect(Self.torchrun)
    #expect(
      found
        == RankEnvironment(
          rank: 5, worldSize: 8, localRank: 1, localWorldSize: 4, masterAddress: "node7",
          masterPort: 29501, usesAgentStore: true, launcher: .torchrun))
    var first = Self.torchrun
    first["RANK"] = "0"
    #expect(try !RankEnvironment.detect(first).hostsStore)
    first["TORCHELASTIC_USE_AGENT_STORE"] = nil
    #expect(try RankEnvironment.detect(first).hostsStore)
  }

  @Test func torchrunGoesBeforeSlurm() throws {
    let both = Self.torchrun.merging(SlurmTests.step) { left, _ in left }
    #expect(try RankEnvironment.detect(both).launcher == .torchrun)
  }

  @Test func theLocalLauncherAddsItsProcess() throws {
    let found = try RankEnvironment.detect(
      Self.torchrun.merging(["XTUNER_LAUNCHER_PID": "4711"]) { $1 })
    #expect(found.launcher == .local)
    #expect(found.launcherProcess == 4711)
  }

  @Test func everyMissingVariableIsNamed() {
    #expect(
      problems(["RANK": "3", "MASTER_PORT": "80"]) == [
        "WORLD_SIZE is not set", "LOCAL_WORLD_SIZE is not set", "LOCAL_RANK is not set",
        "MASTER_ADDR is not set",
      ])
    #expect(problems(["MASTER_ADDR": "a"]).contains("RANK is not set"))
  }

  @Test(arguments: [
    ("RANK", "8", "RANK must be a whole number from 0 to 7, is 8"),
    ("RANK", "-1", "RANK must be a whole number from 0 to 7, is -1"),
    ("WORLD_SIZE", "many", "WORLD_SIZE must be a whole number of at least 1, is many"),
    ("LOCAL_RANK", "4", "LOCAL_RANK must be a whole number from 0 to 3, is 4"),
    ("LOCAL_WORLD_SIZE", "9", "LOCAL_WORLD_SIZE must be a whole number from 1 to 8, is 9"),
    ("MASTER_PORT", "70000", "MASTER_PORT must be a whole number from 1 to 65535, is 70000"),
    (
      "TORCHELASTIC_USE_AGENT_STORE", "maybe",
      "TORCHELASTIC_USE_AGENT_STORE must be True or False, is maybe"
    ),
  ])
  func anUnusableValueIsShown(variable: String, value: String, problem: String) {
    #expect(problems(Self.torchrun.merging([variable: value]) { $1 }) == [problem])
  }

  @Test func theMessageSaysWhatWouldWork() {
    let error = #expect(throws: RankEnvironmentError.self) {
      try RankEnvironment.detect(["RANK": "3"])
    }
    let text = error?.description ?? ""
    #expect(
      text.hasPrefix("the variables of torchrun do not say which rank this is: WORLD_SIZE is not"))
    #expect(text.contains("xtuner train --nproc, or unset these variables"))
    #expect(error?.exitCode == .usage)
  }

  @Test func ranksDivideTheCores() throws {
    var place = try RankEnvironment.detect(Self.torchrun)
    #expect(place.threadCount(requested: 0, coreCount: 13) == 3)
    #expect(place.threadCount(requested: 0, coreCount: 2) == 1)
    #expect(place.threadCount(requested: 7, coreCount: 2) == 7)
    place.coresPerProcess = 5
    #expect(place.threadCount(requested: 0, coreCount: 13) == 5)
    #expect(place.threadCount(requested: 0, coreCount: 3) == 3)
    #expect(RankEnvironment.single.threadCount(requested: 0, coreCount: 11) == 11)
  }

  @Test func localRanksAreNotStartedInsideARank() throws {
    try RankEnvironment.checkLocalLaunch(processCount: 2, ["PATH": "/bin", "RANK": ""])
    let nested = #expect(throws: TrainingError.self) {
      try RankEnvironment.checkLocalLaunch(
        processCount: 2, ["WORLD_SIZE": "4", "MASTER_PORT": "1"])
    }
    #expect(nested?.exitCode == .usage)
    #expect(nested?.description.contains("rank already (WORLD_SIZE=4 MASTER_PORT=1)") == true)
    let slurm = #expect(throws: TrainingError.self) {
      try RankEnvironment.checkLocalLaunch(processCount: 2, SlurmTests.step)
    }
    #expect(slurm?.description.contains("SLURM_PROCID=6 SLURM_NTASKS=7") == true)
  }
}

@Suite struct SlurmTests {
  static let step = [
    "SLURM_PROCID": "6", "SLURM_NTASKS": "7", "SLURM_LOCALID": "0", "SLURM_NODEID": "3",
    "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "123457", "SLURM_TASKS_PER_NODE": "2(x3),1",
    "SLURM_JOB_NODELIST": "node[01-03,7],other2", "SLURM_CPUS_PER_TASK": "5",
  ]

  private func detect(_ changes: [String: String?]) throws -> RankEnvironment {
    var environment = Self.step
    for (name, value) in changes { environment[name] = value }
    return try RankEnvironment.detect(environment)
  }

  @Test func stepOfAJobSaysEverything() throws {
    #expect(
      try detect([:])
        == RankEnvironment(
          rank: 6, worldSize: 7, localRank: 0, localWorldSize: 1, masterAddress: "node01",
          masterPort: 13457, launcher: .slurm, coresPerProcess: 5))
    #expect(try detect(["SLURM_PROCID": "2", "SLURM_NODEID": "1"]).localWorldSize == 2)
  }

  @Test func variablesThatAreNotAlwaysThere() throws {
    // Without srun's step id, as other starters of the same tasks leave it.
    #expect(try detect(["SLURM_STEP_ID": nil]).rank == 6)
    #expect(try detect(["SLURM_STEP_NODELIST": "other2"]).masterAddress == "other2")
    #expect(
      try detect(["SLURM_JOB_NODELIST": nil, "SLURM_NODELIST": "a-b-[7-9]"]).masterAddress
        == "a-b-7")
    #expect(
      try detect(["SLURM_TASKS_PER_NODE": nil, "SLURM_NTASKS_PER_NODE": "3"]).localWorldSize == 3)
    #expect(
      try detect(["SLURM_TASKS_PER_NODE": nil, "SLURM_JOB_NODELIST": "one"]).localWorldSize == 7)
    #expect(try detect(["SLURM_NODEID": nil, "SLURM_TASKS_PER_NODE": "4(x2)"]).localWorldSize == 4)
    let given = try detect(["MASTER_ADDR": "10.0.0.3", "MASTER_PORT": "444"])
    #expect(given.masterAddress == "10.0.0.3")
    #expect(given.masterPort == 444)
  }

  @Test func stepsOfAJobHaveDifferentPortsBelowTheEphemeralOnes() throws {
    let ports = try (0..<50).map { try detect(["SLURM_STEP_ID": String($0)]).masterPort }
    #expect(Set(ports).count == ports.count)
    #expect(ports.allSatisfy { (10_000..<30_000).contains($0) })
  }

  @Test func everyProblemIsNamedWithItsValue() {
    let error = #expect(throws: RankEnvironmentError.self) {
      try detect([
        "SLURM_PROCID": nil, "SLURM_LOCALID": "x", "SLURM_JOB_NODELIST": "node[01-",
        "SLURM_JOB_ID": nil, "SLURM_TASKS_PER_NODE": "2(y3)",
      ])
    }
    #expect(
      error?.description == """
        the variables of Slurm do not say which rank this is: SLURM_PROCID is not set; \
        SLURM_TASKS_PER_NODE must be a list such as 2(x3),1, is 2(y3); SLURM_LOCALID must be a \
        whole number of at least 0, is x; SLURM_JOB_NODELIST must be a list of nodes such as \
        node[01-03,7],other2, is node[01-; SLURM_JOB_ID is not set; start the ranks with srun, or \
        unset SLURM_PROCID to train in one process
        """)
  }

  @Test(arguments: [
    ("node[01-03,7],other2", "node01"), ("other2,node[01-03]", "other2"), ("h", "h"),
    ("a[3,5]b[07-09].c", "a3b07.c"), ("node[001-128]", "node001"), ("gpu-4-[2]", "gpu-4-2"),
  ])
  func firstHostOfAList(text: String, host: String) {
    #expect(SlurmList.firstHost(text) == host)
  }

  @Test(arguments: ["", ",a", "a[", "a[]", "a[x]", "a]", "a b", "[-3]"])
  func brokenListsHaveNoHost(text: String) {
    #expect(SlurmList.firstHost(text) == nil)
  }

  @Test func taskCounts() {
    #expect(SlurmList.taskCounts("2(x3),1") == [2, 2, 2, 1])
    #expect(SlurmList.taskCounts("5") == [5])
    for text in ["", "2(x3", "2(3)", "2(x)", "0", "-1", "2,,3", "2(x0)", "2(x3)4", "2(x2)(x2)"] {
      #expect(SlurmList.taskCounts(text) == nil, "\(text)")
    }
  }
}
