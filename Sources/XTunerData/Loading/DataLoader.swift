import Foundation

/// Gives the packs of one optimizer step after another, in an order that depends on the seed and
/// the data only: not on ranks, steps, threads or restarts.
///
/// Steps are made ahead on a background thread, so that the trainer does not wait. Use one loader
/// from one thread at a time.
public final class DataLoader {
  /// How samples are ordered, packed and handed out.
  public let options: DataLoaderOptions
  /// The names of the sources; a pack's `sources` are indices into them.
  public let sourceNames: [String]

  /// Whether `nextStep` has come to the end of the data.
  public private(set) var isFinished = false

  private let table: SampleTable
  private let identity: LoaderIdentity
  private var current: LoaderState
  private var producer: StepProducer
  private var prefetcher: Prefetcher?
  private var failure: LoaderError?

  /// Makes a loader at the start of the data.
  ///
  /// Plans the first epoch at once, so that empty data, over-long samples, packs without labels and
  /// options that cannot work throw here and not in the first step.
  public init(sources: [DataSource], options: DataLoaderOptions) throws(LoaderError) {
    try options.check()
    let table = try SampleTable(sources)
    let plan = try StepProducer.plan(epoch: 0, table: table, options: options)
    if let share = options.maximumMaskedShare {
      try MaskedPackCheck(table: table, plan: plan).check(maximumShare: share)
    }
    self.options = options
    self.table = table
    sourceNames = sources.map(\.name)
    identity = LoaderIdentity(
      data: table.fingerprint(options.rules), sampleCount: table.lengths.count, seed: options.seed,
      isShuffled: options.isShuffled, packing: options.packing,
      grouping: options.grouping.map {
        "of \(options.packsPerStep) packs grouped over \($0.windowStepCount)"
      },
      rules: options.rules == .version1 ? nil : options.rules)
    current = LoaderState(identity: identity)
    producer = StepProducer(table: table, options: options, state: current, plan: plan)
  }

  deinit {
    prefetcher?.stop()
  }

  /// Where the data stands after the steps given so far; what was only prefetched does not count.
  public var state: LoaderState { current }

  /// The packs of the next step, in order.
  ///
  /// Waits for the background thread if the step is not ready. With `wrap` every step is full but
  /// the last one before `epochLimit`. When the data is over the array is empty and `isFinished` is
  /// true.
  public func nextStep() throws(LoaderError) -> [Pack] {
    if let failure { throw failure }
    let step: LoaderStep?
    do {
      step = try options.prefetchCount == 0 ? producer.next() : prefetchedStep()
    } catch {
      failure = error
      throw error
    }
    guard let step else {
      isFinished = true
      return []
    }
    current = step.stateAfter
    return step.packs
  }

  /// Goes to a saved position, made with any number of ranks and packs per step.
  ///
  /// Throws when the state was saved with other data, seed or packing, and says what differs.
  public func restore(_ state: LoaderState) throws(LoaderError) {
    if let saved = state.identity {
      let differences = identity.differences(from: saved)
      guard differences.isEmpty else {
        throw LoaderError(
          .dataChanged,
          """
          the data position cannot be restored, because the order would be another one: \
          \(differences.joined(separator: "; ")). Use the saved settings and data, or start anew
          """)
      }
    }
    guard state.epoch >= 0, state.packsConsumed >= 0 else {
      throw LoaderError(
        .invalidOption,
        "data position: epoch \(state.epoch), pack \(state.packsConsumed) is negative")
    }
    prefetcher?.stop()
    prefetcher = nil
    failure = nil
    isFinished = false
    current = state
    current.identity = identity
    producer = StepProducer(table: table, options: options, state: current)
  }

  /// Packs of an epoch; plans it, which takes about a second for a million samples.
  public func packCount(epoch: Int) throws(LoaderError) -> Int {
    try StepProducer.plan(epoch: epoch, table: table, options: options).packCount
  }

  /// Steps of the first `epochs` epochs, counted from the start of the data; plans each of them.
  public func stepCount(epochs: Int) throws(LoaderError) -> Int {
    var packCount = 0
    var stepCount = 0
    for epoch in 0..<epochs {
      let count = try self.packCount(epoch: epoch)
      packCount += count
      stepCount += count / options.packsPerStep
    }
    switch options.epochEnd {
    case .wrap: return (packCount + options.packsPerStep - 1) / options.packsPerStep
    case .dropLast: return stepCount
    }
  }

  private func prefetchedStep() throws(LoaderError) -> LoaderStep? {
    let running: Prefetcher
    if let prefetcher {
      running = prefetcher
    } else {
      running = Prefetcher(producer, capacity: options.prefetchCount)
      prefetcher = running
    }
    return try running.next()
  }
}

/// Makes steps on a thread of its own, a bounded number ahead.
final class Prefetcher: Sendable {
  private typealias Item = Result<LoaderStep, LoaderError>

  private let channel: BoundedChannel<Item>

  init(_ producer: StepProducer, capacity: Int) {
    let channel = BoundedChannel<Item>(capacity: capacity)
    self.channel = channel
    // The thread holds the channel only: it ends when the loader goes away and closes it.
    let thread = Thread {
      var producer = producer
      var isOpen = true
      while isOpen {
        do throws(LoaderError) {
          guard let step = try producer.next() else { break }
          isOpen = channel.push(.success(step))
        } catch {
          _ = channel.push(.failure(error))
          break
        }
      }
      channel.close(isDiscarding: false)
    }
    thread.name = "xtuner.data"
    thread.start()
  }

  func next() throws(LoaderError) -> LoaderStep? {
    try channel.pop()?.get()
  }

  func stop() {
    channel.close(isDiscarding: true)
  }
}
