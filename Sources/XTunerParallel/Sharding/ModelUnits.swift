public import Torch
public import XTunerModels
public import XTunerNN

/// The memory of a whole model: a group of flat units for the embedding, each layer and the head.
public final class ModelUnits {
  /// The ranks that share it.
  public let mesh: ProcessMesh
  /// Where the memory of gathered units comes from.
  public let pool: BufferPool
  /// The source, each block, the head: what a schedule gathers and reduces, in its order.
  public let groups: [UnitGroup]
  private let unitOf: [ObjectIdentifier: FlatUnit]

  /// Takes memory for this rank's part of all parameters of `model`.
  ///
  /// Matrices that are multiplied as float8 have units of their own, and unless `gathersFloat8` is false
  /// they travel as float8.
  public init(
    _ model: LanguageModel, computeDType: DType, purpose: FlatUnit.Purpose,
    mesh: ProcessMesh = ProcessMesh(), gathersFloat8: Bool = true,
    decays: (Parameter) -> Bool = { $0.kind == .matrix || $0.kind == .embedding }
  ) {
    let pool = BufferPool(device: mesh.device)
    func group(_ name: String, _ parameters: [Parameter]) -> UnitGroup {
      UnitGroup(
        name: name, parameters: parameters, computeDType: computeDType, purpose: purpose,
        mesh: mesh, pool: pool, gathersFloat8: gathersFloat8, decays: decays)
    }
    self.mesh = mesh
    self.pool = pool
    self.groups =
      [group("embedding", model.source.parameters)]
      + model.blocks.map { group($0.name, $0.parameters) }
      + [group("head", model.head.parameters)]
    var unitOf: [ObjectIdentifier: FlatUnit] = [:]
    for unit in groups.flatMap(\.units) {
      for slot in unit.slots { unitOf[ObjectIdentifier(slot.parameter)] = unit }
    }
    self.unitOf = unitOf
  }

  /// All units, in the order of the forward pass.
  public var all: [FlatUnit] { groups.flatMap(\.units) }

  /// The token embeddings.
  public var embedding: UnitGroup { groups[0] }
  /// The final norm and the projection.
  public var head: UnitGroup { groups[groups.count - 1] }

  /// The unit of a parameter.
  public func unit(of parameter: Parameter) -> FlatUnit {
    guard let unit = unitOf[ObjectIdentifier(parameter)] else {
      preconditionFailure("\(parameter.name) is in no unit")
    }
    return unit
  }

  /// Where a parameter's weights are written in a model that one rank has alone; a view of its shape.
  public func writableView(of parameter: Parameter) -> Tensor {
    unit(of: parameter).writableView(of: parameter)
  }

  /// Elements of a whole parameter, flat, in `dtype`; all ranks take part and all get them.
  ///
  /// Every element comes from the one rank of the first replica that keeps it: the others add zeros.
  ///
  /// `part` gives what is put together out of units: a tensor that lies like their own part.
  public func assembled(
    _ parameter: Parameter, elements: Range<Int>, dtype: DType,
    of part: (FlatUnit) -> Tensor = { $0.weights }
  ) throws -> Tensor {
    let unit = unit(of: parameter)
    let own = part(unit)
    let result = Tensor.zeros([elements.count], dtype: dtype, device: own.device)
    if mesh.replicate.index == 0 {
      withoutGradients {
        for run in unit.ownRuns(of: parameter).clamped(toGlobal: elements) {
          result.narrowed(
            dim: 0, start: run.global - elements.lowerBound, length: run.count
          ).copy(from: own.narrowed(dim: 0, start: run.local, length: run.count))
        }
      }
    }
    guard mesh.world.size > 1, !elements.isEmpty else { return result }
    // Bytes are added and not numbers: -0 + 0 is 0, and NaN payloads change.
    let bytes = Tensor.detachedStorage(
      count: result.byteCount, dtype: .uint8, device: result.device)
    bytes.attachMemory(of: result)
    try mesh.world.allReduce(bytes, label: parameter.name).wait()
    return result
  }

  /// Copies master weights into the compute copies.
  public func publish() {
    for unit in all { unit.publish() }
  }

  /// Quantises what is gathered as float8; nothing where nothing is.
  ///
  /// Needed after weights have changed, before they are gathered. All ranks take part.
  public func quantize() throws(CommunicationError) { try all.quantize() }

  /// Draws first weights; a function of the seed and names alone.
  public func initialize(seed: UInt64) {
    for unit in all { unit.initialize(seed: seed) }
  }
}
