import Dispatch
import Foundation
import Synchronization

/// Transforms inputs on several threads and hands the results back in order.
enum OrderedWorkers {
  /// 8 MiB, the usual size of a main thread: regular expressions recurse deeply on long words.
  private static let stackSize = 8 << 20
  /// Inputs waiting or in work for each thread: enough that none waits for the reader.
  private static let jobsPerThread = 4

  private final class Job<Input: Sendable, Output: Sendable>: Sendable {
    private let input: Input
    private let result = Mutex<Result<Output, any Error>?>(nil)
    private let isDone = DispatchSemaphore(value: 0)

    init(_ input: Input) {
      self.input = input
    }

    func run(_ transform: (Input) throws -> Output) {
      let output = Result { try transform(input) }
      result.withLock { $0 = output }
      isDone.signal()
    }

    func output() throws -> Output? {
      isDone.wait()
      return try result.withLock { $0 }?.get()
    }
  }

  /// Calls `next` and `consume` on this thread and `transform` on `threadCount` others.
  ///
  /// A bounded number of inputs is in flight. The first error in input order, or one of `next` and
  /// `consume`, ends the run after the threads have stopped.
  static func run<Input: Sendable, Output: Sendable>(
    threadCount: Int,
    next: () throws -> Input?,
    transform: @escaping @Sendable (Input) throws -> Output,
    consume: (Output) throws -> Void
  ) throws {
    precondition(threadCount > 0, "threadCount must be positive, is \(threadCount)")
    let limit = threadCount * jobsPerThread
    let channel = BoundedChannel<Job<Input, Output>>(capacity: limit)
    let running = DispatchGroup()
    for _ in 0..<threadCount {
      running.enter()
      let thread = Thread {
        while let job = channel.pop() {
          job.run(transform)
        }
        running.leave()
      }
      thread.stackSize = stackSize
      thread.start()
    }
    defer {
      channel.close(isDiscarding: true)
      running.wait()
    }
    var pending: [Job<Input, Output>] = []
    var isAtEnd = false
    while true {
      while !isAtEnd && pending.count < limit {
        guard let input = try next() else {
          isAtEnd = true
          break
        }
        let job = Job<Input, Output>(input)
        pending.append(job)
        _ = channel.push(job)
      }
      guard !pending.isEmpty else { return }
      if let output = try pending.removeFirst().output() {
        try consume(output)
      }
    }
  }
}
