import CTorch
import Foundation
import Synchronization
import TestDevice
import Testing

@testable import Torch

/// What is said and ended when an operation that a device orders does not come to its end.
///
/// The groups are made by a function like that of a plug-in.
@Suite struct DeviceGroupTests {
  /// A rank's groups, named by what they are for.
  private static func groups(
    _ names: [String], _ rank: Int, _ store: Store, timeout: Duration = .seconds(20),
    companions: DeviceGroups = DeviceGroups(), plugin: String = "none.so"
  ) throws -> [ProcessGroup] {
    try names.map { name in
      try ProcessGroup(
        name: name, ranks: [0, 1], rank: rank, store: store, timeout: timeout, device: .cpu,
        transport: .plugin(test_group_create, plugin), companions: companions)
    }
  }

  @Test func operationsComeToTheirEndInOrder() throws {
    let values = try runRanks(2) { rank, store in
      let group = try Self.groups(["ordered"], rank, store)[0]
      let outputs = (0..<5).map { _ in Tensor.zeros([4]) }
      for (place, output) in outputs.enumerated() {
        let own = Tensor([Float(10 * rank + place), Float(place)])
        try group.allGather(into: output, from: own, label: "layers.\(place)").wait()
      }
      try group.barrier(label: "end")
      let sums = try group.gatherValues([Double(rank)], label: "ranks")
      return (outputs.map { $0.floats() }, sums)
    }
    for value in values {
      let (outputs, ranks) = try value.get()
      for (place, output) in outputs.enumerated() {
        let number = Float(place)
        let expected: [Float] = [number, number, 10 + number, number]
        #expect(output == expected)
      }
      #expect(ranks == [[0], [1]])
    }
  }

  /// A thread that comes late to its exchange must not let the program's next operation pass.
  @Test(arguments: [0, 1])
  func operationsOfSeveralThreadsAreIssuedInTheProgramsOrder(late: Int) throws {
    let orders = try runRanks(2) { rank, store in
      let groups = try Self.groups(["rows", "parameters"], rank, store, companions: DeviceGroups())
      let issued = Mutex<[String]>([])
      let turn = groups[0].reserveTurn()
      // Handed over: this thread leaves the group alone until the other one has ended.
      nonisolated(unsafe) let rows = groups[0]
      let hasEnded = DispatchSemaphore(value: 0)
      Thread.detachNewThread {
        if rank == late { Thread.sleep(forTimeInterval: 0.2) }
        try? rows.inTurn(turn) {
          for label in ["counts", "rows"] {
            let output = Tensor.zeros([2])
            try rows.allGather(into: output, from: Tensor([Float(rank)]), label: label).wait()
            issued.withLock { $0.append(label) }
          }
        }
        hasEnded.signal()
      }
      let output = Tensor.zeros([2])
      let work = try groups[1].allGather(
        into: output, from: Tensor([Float(rank)]), label: "layers.1")
      issued.withLock { $0.append("layers.1") }
      try work.wait()
      hasEnded.wait()
      for group in groups { try group.barrier(label: "end") }
      return (issued.withLock { $0 }, output.floats())
    }
    for result in orders {
      let (order, values) = try result.get()
      #expect(order == ["counts", "rows", "layers.1"])
      #expect(values == [0, 1])
    }
  }

  /// Rank 1 stays away from the first group; rank 0 does not wait there, but in the second one.
  @Test func aRankThatStaysAwayIsNamedAndAllGroupsAreEnded() throws {
    let results = try runRanks(2) { rank, store in
      let groups = try Self.groups(["away", "other"], rank, store, timeout: .seconds(1))
      guard rank == 0 else {
        _ = try store.get("done", timeout: .seconds(30))
        return [String]()
      }
      defer { try? store.set("done", []) }
      let output = Tensor.zeros([2])
      // A device's stream waits, and the host goes on.
      try groups[0].allGather(into: output, from: Tensor.zeros([1]), label: "layers.3").wait()
      // Its time is over first by so much that no thread's turn decides.
      Thread.sleep(forTimeInterval: 0.7)
      var messages: [String] = []
      do { _ = try groups[1].gatherValues([1], label: "norm") } catch {
        messages.append("\(error)")
      }
      do { try groups[0].barrier(label: "end") } catch { messages.append("\(error)") }
      do {
        try groups[1].allGather(into: output, from: Tensor.zeros([1]), label: "late").wait()
      } catch { messages.append("\(error)") }
      return messages
    }
    let messages = try results[0].get()
    #expect(messages.count == 3 && Set(messages).count == 1, "\(messages)")
    let message = try #require(messages.first)
    #expect(message.hasPrefix("all-gather of layers.3 in group away (ranks 0, 1) failed after 1"))
    #expect(message.hasSuffix("s: rank 1 did not take part; look at its log for the first error"))
    try waitUntil { test_group_abort_count("away") == 1 && test_group_abort_count("other") == 1 }
  }

  /// The time-out is that of one operation, however far ahead the host issues them.
  @Test func anOperationBehindOthersHasItsOwnTime() throws {
    let results = try runRanks(2) { rank, store in
      let group = try Self.groups(["ahead"], rank, store, timeout: .seconds(4))[0]
      let outputs = (0..<2).map { _ in Tensor.zeros([2]) }
      for output in outputs {
        if rank == 1 { Thread.sleep(forTimeInterval: 2.2) }
        try group.allGather(into: output, from: Tensor([Float(rank)]), label: "layers").wait()
      }
      try group.barrier(label: "end")
      return outputs.map { $0.floats() }
    }
    for result in results { #expect(try result.get() == [[0, 1], [0, 1]]) }
  }

  /// The other rank waits in another group, and hears of it long before the time-out.
  @Test func otherRanksAreToldInAllGroups() throws {
    let start = ContinuousClock.now
    let results = try runRanks(2) { rank, store in
      let groups = try Self.groups(["failing", "told"], rank, store, timeout: .seconds(60))
      let output = Tensor.zeros([2])
      for label in rank == 0 ? ["layers.0", "layers.1"] : ["layers.0"] {
        try groups[0].allGather(into: output, from: Tensor.zeros([1]), label: label).wait()
      }
      if rank == 0 { try groups[0].barrier(label: "end") }
      _ = try groups[1].gatherValues([1], label: "norm")
    }
    #expect(start.duration(to: .now) < .seconds(20))
    let errors = try results.map { try #require($0.communicationError) }
    #expect(errors[0].group == "failing" && errors[0].label == "layers.1")
    #expect(errors[0].missingRanks == [1])
    #expect(
      errors[0].message.hasSuffix(
        "rank 1 did not take part (the connection to another rank was lost); look at its log for the first error"
      ),
      "\(errors[0])")
    #expect(errors[1].group == "told" && errors[1].code == .failed)
    #expect(
      errors[1].message.contains("all-gather of layers.1 in group failing (ranks 0, 1) failed"),
      "\(errors[1])")
  }

  @Test func anOperationThatFailsIsQuoted() throws {
    let results = try runRanks(2) { rank, store in
      let group = try Self.groups(["failing"], rank, store, timeout: .seconds(60))[0]
      // The barrier of its making is the first operation.
      _ = try group.gatherValues([1], label: "first")
      _ = try group.gatherValues([1], label: "second")
    }
    for result in results {
      let error = try #require(result.communicationError)
      #expect(error.code == .failed && error.label == "second")
      #expect(
        error.message.hasPrefix(
          "all-gather of second in group failing (ranks 0, 1) failed after 0"), "\(error)")
    }
  }

  /// Rank 1 stays away from what connects: the call comes back when the group is ended.
  @Test func aCallThatDoesNotReturnIsEnded() throws {
    let results = try runRanks(2) { rank, store in
      let group = try Self.groups(["held"], rank, store, timeout: .seconds(2))[0]
      guard rank == 0 else {
        _ = try store.get("done", timeout: .seconds(30))
        return ""
      }
      defer { try? store.set("done", []) }
      do { _ = try group.gatherValues([1], label: "first") } catch { return "\(error)" }
      return "came back"
    }
    let message = try results[0].get()
    #expect(message.hasPrefix("all-gather of first in group held (ranks 0, 1) failed after "))
    #expect(
      message.hasSuffix("s: rank 1 did not take part; look at its log for the first error"),
      "\(message)")
  }

  /// The same, where nothing brings the call back: what would be thrown is given to who ends the process.
  @Test func aCallThatNothingEndsIsAbandoned() throws {
    let given = Mutex<[String]>([])
    let results = try runRanks(2) { rank, store in
      let companions = DeviceGroups(flightRecordPath: nil) { failure in
        given.withLock { $0.append("\(failure)") }
        test_group_release()
      }
      let groups = try Self.groups(
        ["stuck", "beside"], rank, store, timeout: .seconds(2), companions: companions)
      guard rank == 0 else {
        _ = try store.get("done", timeout: .seconds(30))
        return ""
      }
      defer { try? store.set("done", []) }
      do { _ = try groups[0].gatherValues([1], label: "first") } catch { return "\(error)" }
      return "came back"
    }
    let message = try results[0].get()
    #expect(message.contains("rank 1 did not take part"), "\(message)")
    #expect(given.withLock { $0 } == [message])
  }

  /// An end without failure is told to the group; one with operations that have not ended is not waited for.
  @Test func groupsEndInOrder() throws {
    _ = try runRanks(2) { rank, store in
      let groups = try Self.groups(["orderly", "left"], rank, store)
      _ = try groups[0].gatherValues([1], label: "last")
      if rank == 0 {
        _ = try groups[1].allGather(
          into: Tensor.zeros([2]), from: Tensor.zeros([1]), label: "unanswered")
      }
      for group in groups { group.shutDown() }
    }
    #expect(test_group_shutdown_count("orderly") == 2)
    #expect(test_group_shutdown_count("left") == 1)
    #expect(test_group_shutdown_count("ordered") == 0)
  }

  @Test func aGroupThatCannotBeMadeSaysWhy() throws {
    let results = try runRanks(2) { rank, store in
      _ = try Self.groups(["refused"], rank, store)
    }
    for result in results {
      #expect(
        result.communicationError?.message
          == "group refused (ranks 0, 1) could not connect its ranks: no network of this kind")
    }
  }

  /// A library without the function, and one with it.
  @Test func lastOperationsAreRecorded() throws {
    let folder = FileManager.default.temporaryDirectory.path + "/groups-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let plugin = "\(folder)/plugin.so"
    try compile(
      """
      #include <stdbool.h>
      #include <stdint.h>
      #include <stdio.h>
      bool xtuner_write_flight_record(const char *path, char *message, int64_t capacity) {
        FILE *file = fopen(path, "w");
        if (file == NULL) return false;
        fputs("{}", file);
        return fclose(file) == 0;
      }
      """, to: plugin)
    let results = try runRanks(2) { rank, store in
      let companions = DeviceGroups(flightRecordPath: "\(folder)/logs/operations-\(rank).json")
      let group = try Self.groups(
        ["failing"], rank, store, companions: companions, plugin: rank == 0 ? plugin : "no.so")[0]
      for _ in 0..<2 { _ = try group.gatherValues([1], label: "norm") }
    }
    let path = "\(folder)/logs/operations-0.json"
    #expect(
      results[0].communicationError?.message
        .hasSuffix("; this rank's last operations are in \(path)") == true)
    #expect(FileManager.default.contents(atPath: path) == Data("{}".utf8))
    #expect(
      results[1].communicationError?.message
        .contains("; its last operations could not be recorded: no.so") == true)
  }

  @Test func aPluginOfAnotherVersionIsRefused() throws {
    let folder = FileManager.default.temporaryDirectory.path + "/groups-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let plugin = "\(folder)/plugin.so"
    try compile("int xtuner_make_hccl_group;", to: plugin)
    var maker: CTGroupMaker?
    #expect(ct_plugin_group_maker(plugin, &maker) != .OK)
    #expect(
      String(cString: ct_last_error()).contains(
        "\(plugin) has no xtuner_group_create: it is of another version; build it again"))
  }

  private func compile(_ text: String, to path: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path).c"))
    let compiler = Process()
    compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    compiler.arguments = ["clang", "-shared", "-fPIC", "-o", path, "\(path).c"]
    try compiler.run()
    compiler.waitUntilExit()
    #expect(compiler.terminationStatus == 0)
  }

  private func waitUntil(_ isTrue: () -> Bool) throws {
    let deadline = ContinuousClock.now + .seconds(10)
    while !isTrue() {
      try #require(ContinuousClock.now < deadline, "it did not come about")
      Thread.sleep(forTimeInterval: 0.01)
    }
  }
}
