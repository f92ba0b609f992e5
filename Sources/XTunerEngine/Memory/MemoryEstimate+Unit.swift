import Torch
import XTunerModels
import XTunerNN
import XTunerParallel

/// The units of one block as sizes: what is gathered, and where gradients are.
final class ImaginedUnit {
  /// Which of a block's units: see `UnitGroup`.
  enum Kind: CaseIterable {
    case dense, denseFloat8, float32, experts, expertsFloat8

    var isExperts: Bool { self == .experts || self == .expertsFloat8 }
    var isFloat8: Bool { self == .denseFloat8 || self == .expertsFloat8 }
    /// That of the same parameters where they are multiplied as float8.
    var float8: Kind { isExperts ? .expertsFloat8 : .denseFloat8 }
  }

  /// Elements of the whole unit, with the padding of `FlatUnit`: each parameter starts at a multiple
  /// of 16 elements, and the whole is a multiple of that times the ranks.
  let elementCount: Int
  let groupSize: Int
  let elementSize: Int
  /// Bytes of an element as it is gathered.
  let travelSize: Int
  var gathered: ImaginedMemory?
  var gathering: ImaginedMemory?
  var gradientBuffer: ImaginedMemory?
  var gradientShard: ImaginedMemory?
  var hasGradientShard = false
  /// Whether no other rank has a part in the gradients.
  let isAlone: Bool
  /// The only gradients of their parameters so far, as they came.
  var soleGradients: [String: ImaginedMemory] = [:]  // own names
  /// Bytes of one moment of an element.
  let momentSize: Int
  /// Parameters that have a gradient since the last reduction.
  var named: Set<String> = []  // own names
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
    groupSize = kind.isExperts ? layout.expertShard : layout.shard
    elementSize = kind == .float32 ? 4 : dtype.size
    travelSize = kind.isFloat8 ? 1 : elementSize
    isAlone = groupSize == 1 && layout.replicate == 1
    let hasMaster = setting.keepsMaster || elementSize == 4
    momentSize = hasMaster ? 4 : elementSize
    let count = own.reduce(0) { sum, parameter in
      var count = parameter.elementCount
      if kind.isExperts {
        count /= layout.expert * (parameter.tensorSplit == nil ? 1 : layout.expertTensor)
      }
      return sum + count.roundedUp(toMultipleOf: 16)
    }
    elementCount = count.roundedUp(toMultipleOf: 16 * groupSize)
    // The master, and the compute copy unless that is the master.
    if hasMaster { resident.append(ledger.take(4 * shardCount, \.weights)) }
    if elementSize != 4 { resident.append(ledger.take(elementSize * shardCount, \.weights)) }
    if isSharded && kind.isFloat8 {
      // What is gathered, and a scale for each 128 x 128 elements of the whole.
      resident.append(ledger.take(shardCount + elementCount / 4096, \.weights))
    }
    if !setting.swapsOptimizer {
      resident.append(ledger.take(2 * momentSize * shardCount, \.moments))
    }
  }

  static func kind(of parameter: Parameter, computeDType: DType) -> Kind {
    if parameter.precision == .full && parameter.role != .expert && computeDType != .float32 {
      return .float32
    }
    let kind = parameter.role == .expert ? Kind.experts : .dense
    return parameter.travelsAsFloat8 ? kind.float8 : kind
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
