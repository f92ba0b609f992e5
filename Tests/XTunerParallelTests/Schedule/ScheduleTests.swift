import Testing
import XTunerMoE
import XTunerNN

@testable import XTunerParallel

private let dense = LayerPlan(name: "", stages: [.project, .attend, .feedForward])

private func mixture(travels: Bool, recorded: Set<Int>? = nil, swaps: Bool = false) -> LayerPlan {
  LayerPlan(
    name: "", stages: [.project, .attend, .route, .dispatch, .experts, .combine],
    routesTokens: true, travelling: travels ? [3, 4] : [], recorded: recorded, swapsInput: swaps)
}

/// The plans under the names of a model's layers.
private func numbered(_ plans: [LayerPlan]) -> [LayerPlan] {
  plans.enumerated().map { index, plan in
    var plan = plan
    plan.name = "layers.\(index)"
    return plan
  }
}

/// The printed schedules are those of docs/schedule.md.
@Suite struct ScheduleTests {
  @Test func denseLayersOnOneRankRunWholeBlockByBlock() {
    let schedule = Schedule(layers: numbered([dense, dense]), options: .init())
    #expect(
      schedule.description == """
        embed #0
        forward layers.0 [project attend feedForward] #0
        forward layers.1 [project attend feedForward] #0
        loss #0
        backward layers.1 [project attend feedForward] #0
        backward layers.0 [project attend feedForward] #0
        embed backward #0
        """)
  }

  @Test func shardedBlocksAreGatheredAheadAndReducedAfterBackward() {
    var options = Schedule.Options()
    (options.isSharded, options.isReduced) = (true, true)
    let schedule = Schedule(layers: numbered([dense, dense]), options: options)
    #expect(
      schedule.description == """
        gather embedding
        gather layers.0
        embed #0
        release embedding
        gather layers.1
        forward layers.0 [project attend feedForward] #0
        release layers.0
        gather head
        forward layers.1 [project attend feedForward] #0
        loss #0
        release head
        reduce head
        gather layers.0
        backward layers.1 [project attend feedForward] #0
        release layers.1
        reduce layers.1
        backward layers.0 [project attend feedForward] #0
        release layers.0
        reduce layers.0
        embed backward #0
        reduce embedding
        """)
  }

  @Test func rowsOfOneMicroBatchTravelUnderTheComputationOfAnother() {
    var options = Schedule.Options()
    options.microBatchCount = 2
    let schedule = Schedule(
      layers: numbered([mixture(travels: true), mixture(travels: true)]), options: options)
    #expect(
      schedule.description == """
        embed #0
        embed #1
        forward layers.0 [project attend route dispatch] #0
        forward layers.0 [project attend route dispatch] #1
        forward layers.0 [experts] #0
        forward layers.0 [experts] #1
        forward layers.0 [combine] #0
        forward layers.1 [project attend route dispatch] #0
        forward layers.0 [combine] #1
        forward layers.1 [project attend route dispatch] #1
        forward layers.1 [experts] #0
        forward layers.1 [experts] #1
        forward layers.1 [combine] #0
        forward layers.1 [combine] #1
        count rows
        loss #0
        loss #1
        backward layers.1 [combine] #1
        backward layers.1 [combine] #0
        backward layers.1 [experts] #1
        backward layers.1 [experts] #0
        backward layers.1 [project attend route dispatch] #1
        backward layers.0 [combine] #1
        backward layers.1 [project attend route dispatch] #0
        backward layers.0 [combine] #0
        backward layers.0 [experts] #1
        backward layers.0 [experts] #0
        backward layers.0 [project attend route dispatch] #1
        backward layers.0 [project attend route dispatch] #0
        embed backward #1
        embed backward #0
        """)
  }

  @Test func recomputationAndSwapComeBeforeALayersBackward() {
    var options = Schedule.Options()
    options.swapAhead = 1
    let layer = mixture(travels: false, recorded: [], swaps: true)
    let lines = Schedule(layers: numbered([layer, layer]), options: options).description
      .split(separator: "\n").map(String.init)
    let stages = "[project attend route dispatch experts combine]"
    #expect(
      lines == [
        "embed #0", "forward layers.0 \(stages) #0", "swap out layers.0 #0",
        "forward layers.1 \(stages) #0", "swap out layers.1 #0", "count rows", "loss #0",
        "swap in layers.1 #0", "swap in layers.0 #0", "recompute layers.1 \(stages) #0",
        "backward layers.1 \(stages) #0", "recompute layers.0 \(stages) #0",
        "backward layers.0 \(stages) #0", "embed backward #0",
      ])
  }

  @Test func withoutReshardingThereIsOneGatherAndOneReductionAStep() {
    var options = Schedule.Options()
    (options.isSharded, options.isReduced, options.reshard) = (true, true, .never)
    options.isLastRound = false
    let first = Schedule(layers: numbered([dense, dense]), options: options).actions
    (options.isFirstRound, options.isLastRound) = (false, true)
    let last = Schedule(layers: numbered([dense, dense]), options: options).actions
    func count(_ actions: [ScheduleAction], _ isCounted: (ScheduleAction) -> Bool) -> Int {
      actions.count(where: isCounted)
    }
    let isGather = { (action: ScheduleAction) in if case .gather = action { true } else { false } }
    let isEnd = { (action: ScheduleAction) in
      switch action {
      case .reduce, .release: true
      default: false
      }
    }
    #expect(count(first, isGather) == 4 && count(first, isEnd) == 0)
    #expect(count(last, isGather) == 0 && count(last, isEnd) == 8)
  }

  @Test func rowsOfAStepAreCountedByAForwardPassWithoutTheHead() {
    var options = Schedule.Options()
    (options.isSharded, options.isReduced, options.tiesHead) = (true, true, true)
    (options.microBatchCount, options.reshard) = (2, .never)
    let layer = mixture(travels: true, recorded: [], swaps: true)
    #expect(
      Schedule.counting(layers: numbered([dense, layer]), options: options).description == """
        gather embedding
        gather layers.0
        embed #0
        embed #1
        release embedding
        gather layers.1
        forward layers.0 [project attend feedForward] #0
        forward layers.0 [project attend feedForward] #1
        release layers.0
        forward layers.1 [project attend route dispatch] #0
        forward layers.1 [project attend route dispatch] #1
        forward layers.1 [experts] #0
        forward layers.1 [experts] #1
        forward layers.1 [combine] #0
        forward layers.1 [combine] #1
        release layers.1
        """)
  }

  /// Whatever the options, each block is there when it is used, and everything is given back.
  @Test(arguments: [0, 1, 2, 9], [1, 2, 3])
  func everyBlockIsGatheredWhenItIsUsed(prefetch: Int, microBatches: Int) {
    for tiesHead in [false, true] {
      for reshard in Schedule.Reshard.allCases {
        var options = Schedule.Options()
        (options.isSharded, options.isReduced) = (true, true)
        (options.prefetch, options.microBatchCount) = (prefetch, microBatches)
        (options.tiesHead, options.reshard) = (tiesHead, reshard)
        let layers = [
          dense, mixture(travels: true, recorded: [1]), mixture(travels: false), dense,
        ]
        let schedules = [
          Schedule(layers: numbered(layers), options: options),
          .evaluation(layers: numbered(layers), options: options),
          .counting(layers: numbered(layers), options: options),
        ]
        for schedule in schedules {
          #expect(
            isSound(schedule, tiesHead: tiesHead), "\(reshard), tied \(tiesHead):\n\(schedule)")
        }
      }
    }
  }

  /// Whether blocks are there when they are used, and none at the end.
  private func isSound(_ schedule: Schedule, tiesHead: Bool) -> Bool {
    var gathered: Set<Int> = []
    for action in schedule.actions {
      let isSound =
        switch action {
        case .gather(let block): gathered.insert(block).inserted
        case .release(let block): gathered.remove(block) != nil
        case .embed: gathered.contains(0)
        case .loss: gathered.contains(5) && (!tiesHead || gathered.contains(0))
        case .forward(let block, _, _), .recompute(let block, _, _), .backward(let block, _, _):
          gathered.contains(block)
        default: true
        }
      if !isSound { return false }
    }
    return gathered.isEmpty
  }
}
