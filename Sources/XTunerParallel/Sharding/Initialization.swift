import Torch
import XTunerNN

extension FlatUnit {
  /// Elements that a thread draws at once: the most that is in memory for it beside the own part.
  static let drawCount = 1 << 20

  /// Draws first weights: a function of the seed and the parameter's name alone.
  ///
  /// They do not depend on the order, the number of ranks or the compute dtype. Numbers are drawn a
  /// block at a time, each block and each expert with a generator of its own, and a rank draws only
  /// the blocks that it has a part of.
  public func initialize(seed: UInt64) {
    let shard = weights
    withoutGradients {
      for slot in slots {
        let parameter = slot.parameter
        for run in ownRuns(of: parameter) {
          let target = shard.narrowed(dim: 0, start: run.local, length: run.count)
          switch parameter.initializer {
          case .zeros: target.zero()
          case .ones: target.fill(1)
          case .normal(let deviation):
            draw(parameter, run, standardDeviation: deviation, seed: seed, to: target)
          }
        }
      }
      publish()
    }
  }

  private func draw(
    _ parameter: Parameter, _ run: ParameterSlice.Run, standardDeviation: Double, seed: UInt64,
    to target: Tensor
  ) {
    let isExpert = parameter.role == .expert
    let partCount = isExpert ? parameter.shape[0] : 1
    let partSize = parameter.elementCount / max(partCount, 1)
    var position = run.global
    let end = run.global + run.count
    var blocks: [(numbers: Tensor, seed: UInt64, first: Int, range: Range<Int>)] = []
    func fill() {
      Tensor.fillNormal(
        blocks.map(\.numbers), seeds: blocks.map(\.seed), standardDeviation: standardDeviation)
      for block in blocks {
        target.narrowed(
          dim: 0, start: block.range.lowerBound - run.global, length: block.range.count
        ).copy(
          from: block.numbers.narrowed(
            dim: 0, start: block.range.lowerBound - block.first, length: block.range.count))
      }
      blocks = []
    }
    while position < end {
      let part = position / partSize
      let block = position % partSize / Self.drawCount
      let start = part * partSize + block * Self.drawCount
      let count = min(Self.drawCount, (part + 1) * partSize - start)
      var name = isExpert ? "\(parameter.name).\(part)" : parameter.name
      if block > 0 { name += "#\(block)" }
      let next = min(start + count, end)
      blocks.append(
        (
          Tensor.empty([count], dtype: .float32), Self.seed(seed, name: name), start,
          position..<next
        ))
      position = next
      if blocks.count == Torch.threadCount { fill() }
    }
    fill()
  }

  /// FNV-1a over the name, mixed with a seed by SplitMix64's finaliser.
  package static func seed(_ seed: UInt64, name: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    var mixed = hash &+ seed &* 0x9e37_79b9_7f4a_7c15
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
