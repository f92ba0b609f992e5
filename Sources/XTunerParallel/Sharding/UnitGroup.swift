public import Torch
public import XTunerNN

/// The units of one block: what is gathered before the block runs and reduced after it.
///
/// A block has its dense parameters in the compute type, those that stay float32 (routers), and its
/// experts, which are spread over other ranks. Matrices that are multiplied as float8 are apart, since
/// they travel in another type.
public final class UnitGroup {
  /// The block's name.
  public let name: String
  /// The units; empty ones do not exist.
  public let units: [FlatUnit]
  private var unitOf: [ObjectIdentifier: FlatUnit] = [:]

  /// Takes memory for the own parts of `parameters`.
  public init(
    name: String, parameters: [Parameter], computeDType: DType, purpose: FlatUnit.Purpose,
    mesh: ProcessMesh, pool: BufferPool, gathersFloat8: Bool = true, decays: (Parameter) -> Bool
  ) {
    self.name = name
    let experts = parameters.filter { $0.role == .expert }
    let full = parameters.filter {
      $0.role != .expert && $0.precision == .full && computeDType != .float32
    }
    let dense = parameters.filter { parameter in
      parameter.role != .expert && !full.contains { $0 === parameter }
    }
    var units: [FlatUnit] = []
    /// Makes one unit of the parameters, or two where some but not all are multiplied as float8.
    func add(
      _ name: String, _ parameters: [Parameter], _ dtype: DType, _ group: ProcessGroup,
      _ slice: (Parameter) -> ParameterSlice
    ) {
      let (float8, others) = (
        parameters.filter(\.travelsAsFloat8), parameters.filter { !$0.travelsAsFloat8 }
      )
      for (name, parameters) in [(name, others), ("\(name).float8", float8)]
      where !parameters.isEmpty {
        units.append(
          FlatUnit(
            name: name, parameters: parameters, computeDType: dtype, purpose: purpose,
            group: group, replicas: mesh.replicate, device: mesh.device, pool: pool,
            gathersFloat8: gathersFloat8 && parameters[0].travelsAsFloat8, slice: slice,
            decays: decays))
      }
    }
    let whole = { (parameter: Parameter) in ParameterSlice(whole: parameter.shape) }
    add(name, dense, computeDType, mesh.shard, whole)
    add("\(name).float32", full, .float32, mesh.shard, whole)
    add("\(name).experts", experts, computeDType, mesh.expertShard) { parameter in
      ParameterSlice(
        expertParameter: parameter, expert: mesh.expertIndex, expertDegree: mesh.layout.expert,
        tensor: mesh.expertTensorIndex, tensorDegree: mesh.layout.expertTensor)
    }
    self.units = units
    for unit in units {
      for slot in unit.slots { unitOf[ObjectIdentifier(slot.parameter)] = unit }
    }
  }

  /// The unit of a parameter, or nil for one of another block.
  public func unit(of parameter: Parameter) -> FlatUnit? { unitOf[ObjectIdentifier(parameter)] }

  /// Adds a gradient to its unit's.
  public func accumulate(_ gradient: Tensor, for parameter: Parameter) {
    guard let unit = unit(of: parameter) else {
      preconditionFailure("\(parameter.name) is not in the block \(name)")
    }
    unit.accumulate(gradient, for: parameter)
  }

  /// Starts to gather all units.
  public func gather() throws(CommunicationError) {
    for unit in units { try unit.gather() }
  }

  /// Waits until all units are there.
  public func waitUntilGathered() throws(CommunicationError) {
    for unit in units { try unit.waitUntilGathered() }
  }

  /// Gives the whole units' memory back.
  public func release() throws(CommunicationError) {
    for unit in units { try unit.release() }
  }

  /// Starts to sum the gradients over ranks.
  public func reduce(wire: GradientWire, isLast: Bool) throws(CommunicationError) {
    for unit in units { try unit.reduce(wire: wire, isLast: isLast) }
  }

  /// Waits for the sums.
  public func finishReduction() throws(CommunicationError) {
    for unit in units { try unit.finishReduction() }
  }

  /// Whether any unit is shared, so that it has to be gathered.
  public var isSharded: Bool { units.contains { $0.group.size > 1 } }
}
