import Torch
import XTunerModels
import XTunerNN
import XTunerParallel

/// The units of one block as sizes: what is gathered, and where gradients are.
final class ImaginedUnit {
  /// Which of a block's units: see `UnitGroup`.
  enum Kind: CaseIterable {
    case dense, float32, experts
  }

  /// Elements of the whole unit, with the padding of `FlatUnit`: each parameter starts at a multiple
  /// of 16 elements, and the whole is a multiple of that times the ranks.
  let elementCount: Int
  let groupSize: Int
  let elementSize: Int
  var gathered: ImaginedMemory?
  var gathering: ImaginedMemory?
  var gradientBuffer: ImaginedMemory?
  var gradientShard: ImaginedMemory?
  var hasGradientShard = false
  /// Whether no other rank has a part in the gradients.
  let isAlone: Bool
  /// The only gradients of their parameters so far, as they came.
  var soleGradients: [String: ImaginedMemory] = [:]
  /// Bytes of one moment of an element.
  let momentSize: Int
  /// Parameters that have a gradient since the last reduction.
  var named: Set<String> = []
  var reduction: [ImaginedMemory]?
  private(set) var resident: [ImaginedMemory] = []

  var shardCount: Int { elementCount / groupSize }
  var isSharded: Bool { groupSize > 1 }

  init?(
    _ kind: Kind, _ parameters: [Parameter], _ setting: MemoryEstimate.Setting,
    _ ledger: MemoryLedger
  ) {
    let (layout, dtype) = (setting.layout, setting.computeDType)
    let own = parameters.filter { Self.kind(of: $0, computeDType: dtype) == kind }
    guard !own.isEmpty else { return nil }
    groupSize = kind == .experts ? layout.expertShard : layout.shard
    elementSize = kind == .float32 ? 4 : dtype.size
    isAlone = groupSize == 1 && layout.replicate == 1
    let hasMaster = setting.keepsMaster || elementSize == 4
    momentSize = hasMaster ? 4 : elementSize
    let count = own.reduce(0) { sum, parameter in
      var count = parameter.elementCount
      if kind == .experts {
        count /= layout.expert * (parameter.tensorSplit == nil ? 1 : layout.expertTensor)
      }
      return sum + count.roundedUp(toMultipleOf: 16)
    }
    elementCount = count.roundedUp(toMultipleOf: 16 * groupSize)
    // The master, and the compute copy unless that is the master.
    if hasMaster { resident.append(ledger.take(4 * shardCount, \.weights)) }
    if elementSize != 4 { resident.append(ledger.take(elementSize * shardCount, \.weights)) }
    if !setting.swapsOptimizer {
      resident.append(ledger.take(2 * momentSize * shardCount, \.moments))
    }
  }

  static func kind(of parameter: Parameter, computeDType: DType) -> Kind {
    if parameter.role == .expert { return .experts }
    return parameter.precision == .full && computeDType != .float32 ? .float32 : .dense
  }
}

extension Int {
  fileprivate func roundedUp(toMultipleOf step: Int) -> Int { (self + step - 1) / step * step }
}

extension ParallelLayout {
  /// Whether values travel to other ranks after such a stage.
  func isActive(_ travel: Stage.Travel) -> Bool {
    switch travel {
    case .none: false
    case .toExperts, .fromExperts: expert * expertTensor > 1
    case .toHeads, .toTokens: sequence > 1
    }
  }
}
