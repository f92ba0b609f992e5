import Synchronization
package import Torch
import XTunerModels
import XTunerParallel
import XTunerRun

/// What holds the memory of a rank's device, for the message of a run that has too little.
///
/// Read when an allocation has failed, on whichever thread that was.
package final class MemoryAccount: Sendable {
  private struct Holding: Sendable {
    let name: String
    let isOnHost: Bool
    let byteCount: @Sendable () -> Int
  }

  private let device: Device
  private let advice: (@Sendable () -> MemoryAdvice)?
  private let holdings = Mutex<[Holding]>([])

  /// Nothing held yet; `advice` is asked when memory is out, nil where there is no estimate.
  package init(device: Device, advice: (@Sendable () -> MemoryAdvice)?) {
    self.device = device
    self.advice = advice
  }

  /// Something whose size may change.
  package func add(
    _ name: String, onHost isOnHost: Bool = false, _ byteCount: @escaping @Sendable () -> Int
  ) {
    holdings.withLock {
      $0.append(Holding(name: name, isOnHost: isOnHost, byteCount: byteCount))
    }
  }

  /// Counts what `body` takes and leaves on the device under a name.
  package func measure<Result>(_ name: String, _ body: () throws -> Result) rethrows -> Result {
    let before = DeviceMemory.liveByteCount(on: device)
    let result = try body()
    let taken = DeviceMemory.liveByteCount(on: device) - before
    add(name) { taken }
    return result
  }

  /// Who has the memory, what a step needs by the estimate, and which settings would make it smaller.
  package func explanation() -> String {
    let live = DeviceMemory.liveByteCount(on: device)
    var lines = [
      """
      tensors on \(device == .cpu ? "the host" : "\(device)"): \(NumberFormat.bytes(live)), at most \
      \(NumberFormat.bytes(DeviceMemory.peakByteCount(on: device))) so far
      """
    ]
    let known = holdings.withLock { $0 }.map { ($0, $0.byteCount()) }
    for (holding, byteCount) in known where byteCount > 0 && !holding.isOnHost {
      lines.append(Self.row(holding.name, byteCount))
    }
    let rest = live - known.reduce(0) { $0 + ($1.0.isOnHost ? 0 : $1.1) }
    lines.append(Self.row("activations, gradients, logits and what operators take", max(rest, 0)))
    for (holding, byteCount) in known where byteCount > 0 && holding.isOnHost {
      lines.append("\(holding.name): \(NumberFormat.bytes(byteCount))")
    }
    guard let advice = advice?() else {
      lines.append("there is no estimate for this run; docs/memory.md says what settings save")
      return lines.joined(separator: "\n")
    }
    lines += Self.lines(advice)
    return lines.joined(separator: "\n")
  }

  private static func lines(_ advice: MemoryAdvice) -> [String] {
    let (peak, moment) = (advice.estimate.peak, advice.estimate.moment)
    var lines = ["a step takes \(NumberFormat.bytes(peak.total)) by the estimate, at '\(moment)':"]
    for (name, part) in MemoryParts.names where peak[keyPath: part] > 0 {
      lines.append(row(name.replacing("_", with: " "), peak[keyPath: part]))
    }
    guard !advice.options.isEmpty else {
      lines.append("no setting would make it a hundredth smaller; a smaller model would")
      return lines
    }
    lines.append("what would help most, with the estimate for each:")
    for option in advice.options.prefix(3) {
      lines.append(
        row(option.setting, option.peak, "\(NumberFormat.bytes(peak.total - option.peak)) less"))
    }
    return lines
  }

  private static func row(_ name: String, _ byteCount: Int, _ note: String? = nil) -> String {
    "  \(name): \(NumberFormat.bytes(byteCount))\(note.map { ", \($0)" } ?? "")"
  }
}
