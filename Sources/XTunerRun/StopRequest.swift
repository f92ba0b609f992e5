import Dispatch
public import Foundation
import Synchronization

/// A wish to end the run at the next step, with a checkpoint.
///
/// The training thread looks at ``isRequested`` between steps; that is one atomic load.
public final class StopRequest: Sendable {
  private let signal = Atomic<Int32>(0)
  private let teller: Mutex<@Sendable (String) -> Void>

  /// Creates a request that nobody has made yet.
  ///
  /// - Parameter tell: Tells people that a stop was understood.
  public init(tell: @escaping @Sendable (_ message: String) -> Void = { _ in }) {
    teller = Mutex(tell)
  }

  /// Takes over the telling, for a run that draws a status line on the same terminal.
  public func tell(through tell: @escaping @Sendable (_ message: String) -> Void) {
    teller.withLock { $0 = tell }
  }

  /// Tells people something about the stop.
  func tell(_ message: String) {
    let tell = teller.withLock { $0 }
    tell(message)
  }

  /// Whether somebody asked the run to stop.
  public var isRequested: Bool { signal.load(ordering: .relaxed) != 0 }

  /// The number of the signal that asked first; `nil` before that.
  public var signalNumber: Int32? {
    let value = signal.load(ordering: .relaxed)
    return value == 0 ? nil : value
  }

  /// Name of the signal that asked first, such as `SIGTERM`, for messages.
  public var reason: String? {
    signalNumber.map { number in
      switch number {
      case SIGINT: "SIGINT (Ctrl-C)"
      case SIGTERM: "SIGTERM"
      case SIGHUP: "SIGHUP"
      case SIGUSR1: "SIGUSR1"
      default: "signal \(number)"
      }
    }
  }

  /// Asks the run to stop.
  ///
  /// - Parameter signalNumber: Why, for the message; the first one stays.
  /// - Returns: `false` when a stop had been asked for before.
  @discardableResult
  public func request(signalNumber: Int32 = SIGTERM) -> Bool {
    signal.compareExchange(expected: 0, desired: signalNumber, ordering: .relaxed).exchanged
  }
}

/// Turns SIGINT, SIGTERM, SIGHUP and SIGUSR1 into a ``StopRequest`` while it exists.
///
/// The first signal asks for an orderly stop. A second Ctrl-C ends the process at once with
/// ``RunExitCode/interrupted``; a second SIGTERM changes nothing, since schedulers send several.
/// SIGUSR1 is what Slurm's `--signal` sends by habit. A SIGHUP that was ignored before, as under nohup,
/// stays ignored.
public final class SignalHandlers: Sendable {
  /// The signals that ask for a stop.
  static let numbers = [SIGINT, SIGTERM, SIGHUP, SIGUSR1]

  private let sources: Mutex<[any DispatchSourceSignal]>

  /// Installs the handlers.
  ///
  /// - Parameters:
  ///   - request: What the first signal sets, before anybody is told.
  ///   - announce: Tells the person that the stop was understood; by default as `request` does. Called
  ///     on a dispatch queue of its own: a terminal that takes no text must not keep a second Ctrl-C.
  ///   - exitAtOnce: What a second Ctrl-C does; replaced in tests.
  public init(
    request: StopRequest,
    announce: (@Sendable (_ message: String) -> Void)? = nil,
    exitAtOnce: @escaping @Sendable (Int32) -> Void = { _exit($0) }
  ) {
    let queue = DispatchQueue(label: "xtuner.signals")
    let announcements = DispatchQueue(label: "xtuner.announcements")
    let announce = announce ?? { request.tell($0) }
    // Registration happens on another thread and replaces the default action, which is death.
    let registration = DispatchGroup()
    var installed: [any DispatchSourceSignal] = []
    for number in Self.numbers where !Self.isIgnoredHangup(number) {
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler {
        if request.request(signalNumber: number) {
          let hint = number == SIGINT ? "; Ctrl-C again stops at once, without it" : ""
          let message =
            "\(request.reason ?? ""): stopping after this step, with a checkpoint\(hint)"
          announcements.async { announce(message) }
        } else if number == SIGINT {
          exitAtOnce(RunExitCode.interrupted.rawValue)
        }
      }
      registration.enter()
      source.setRegistrationHandler { registration.leave() }
      source.resume()
      installed.append(source)
    }
    registration.wait()
    sources = Mutex(installed)
  }

  deinit {
    sources.withLock { sources in
      for source in sources { source.cancel() }
    }
  }

  private static func isIgnoredHangup(_ number: Int32) -> Bool {
    guard number == SIGHUP else { return false }
    var current = sigaction()
    guard sigaction(number, nil, &current) == 0 else { return false }
    let handler = unsafeBitCast(current.__sigaction_handler.sa_handler, to: Int.self)
    return handler == unsafeBitCast(SIG_IGN, to: Int.self)
  }
}
