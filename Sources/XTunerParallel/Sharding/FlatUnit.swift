public import Torch
public import XTunerNN

/// The memory of parameters that are gathered together: flat buffers, of which the parameters are
/// views, each rank of a group keeping an equal part.
///
/// Master weights, gradients and moments of the own part are one vector each, so that an optimizer is
/// one pass; where nothing has to be summed, gradients stay the tensors that they came as. Parameters with weight decay come first; each starts at a multiple of 64
/// bytes. The whole is padded to a multiple of the group's size. The compute copy (bfloat16, say) has
/// the same layout; in float32 it is the master.
///
/// The whole unit has memory only between `gather()` and `release()`, and the views stay the same
/// objects, so that a graph recorded before a release is valid after the next gather. In a group of
/// one rank the whole is the part, nothing is copied, and it is always there.
///
/// Matrices that are multiplied as float8 may travel so: see `Float8Weights`.
public final class FlatUnit {
  /// What the memory is for.
  public enum Purpose: Sendable {
    /// Float32 master weights, gradients and the compute copy.
    case training
    /// Gradients and the compute copy, which has the weights.
    case trainingWithoutMaster
    /// The compute copy alone.
    case inference
  }

  /// A parameter's place.
  public struct Slot {
    /// The parameter.
    public let parameter: Parameter
    /// Which of the whole parameter's elements are in the unit.
    public let slice: ParameterSlice
    /// Where they start, in elements of the unit.
    public let offset: Int
    /// The elements they take.
    public var range: Range<Int> { offset..<offset + slice.localCount }
  }

  /// Elements of float32 in 64 bytes: what a parameter's start is aligned to.
  private static let alignment = 16

  /// Unique in the model, such as `layers.3.experts`.
  public let name: String
  /// The parameters in the order of their places.
  public let slots: [Slot]
  /// The length of the whole unit, padding included.
  public let elementCount: Int
  /// Elements before this index have weight decay.
  public let decayedCount: Int
  /// The dtype of the compute copy.
  public let computeDType: DType
  /// The ranks that share the unit.
  public let group: ProcessGroup
  /// Ranks that hold the same part; gradients are summed over them.
  public let replicas: ProcessGroup
  /// The elements that this rank keeps.
  public let shardRange: Range<Int>
  /// Float32 weights of the own part; nil where the compute tensor, in another dtype, has the weights.
  public let master: Tensor?
  /// The own part of what forward passes read; the master in float32.
  public let compute: Tensor
  /// Float32 gradient of the own part; nil until the first one is added.
  public internal(set) var gradient: Tensor?

  /// The whole unit, with memory only while it is gathered.
  let whole: Tensor
  /// What travels instead of the compute copy; nil where that does.
  let float8: Float8Weights?
  let wholeGradient: Tensor?
  let pool: BufferPool
  var gathered: (buffer: Tensor, work: Work?)?
  var gradientBuffer: Tensor?
  var reduction: Reduction?
  var replicaWork: Work?
  var hasGradientShard = false
  var hasGradient: [Bool]
  /// Gradients that are the only ones of their parameters so far, as they came; see `accumulate`.
  var soleGradients: [Tensor?]
  private var indices: [ObjectIdentifier: Int] = [:]

  /// A reduce-scatter under way.
  struct Reduction {
    var work: Work
    var sum: Tensor
    /// What the wire carries, kept until the sum is taken; nil where it carries float32 sums.
    var received: Tensor?
    var isLast: Bool
  }

  /// Takes memory for the own part of `parameters` and sets their values.
  ///
  /// - Parameters:
  ///   - name: Unique in the model.
  ///   - parameters: All parameters, of one precision.
  ///   - computeDType: The dtype that forward passes read.
  ///   - purpose: Whether gradients and master weights are needed.
  ///   - group: The ranks that share the unit.
  ///   - replicas: The ranks that have the same part.
  ///   - device: Where the unit lives.
  ///   - pool: Where the memory of gathered units comes from; a pool of the same device.
  ///   - gathersFloat8: Whether the parameters, all of them matrices, are gathered as float8 where
  ///     ranks share them.
  ///   - slice: Which part of a parameter is in this unit at all.
  ///   - decays: Whether weight decay applies to a parameter.
  public init(
    name: String, parameters: [Parameter], computeDType: DType, purpose: Purpose,
    group: ProcessGroup = .single(name: "shard"),
    replicas: ProcessGroup = .single(name: "replicate"),
    device: Device = .cpu,
    pool: BufferPool? = nil,
    gathersFloat8: Bool = false,
    slice: (Parameter) -> ParameterSlice = { ParameterSlice(whole: $0.shape) },
    decays: (Parameter) -> Bool = { $0.kind == .matrix }
  ) {
    self.name = name
    self.computeDType = computeDType
    self.group = group
    self.replicas = replicas
    self.pool = pool ?? BufferPool(device: device)
    let ordered = parameters.filter(decays) + parameters.filter { !decays($0) }
    let decayedParameterCount = parameters.filter(decays).count
    var slots: [Slot] = []
    var offset = 0
    var decayedCount = 0
    for (index, parameter) in ordered.enumerated() {
      if index == decayedParameterCount { decayedCount = offset }
      let slice = slice(parameter)
      parameter.localShape = slice.localShape(parameter.shape, split: parameter.tensorSplit)
      slots.append(Slot(parameter: parameter, slice: slice, offset: offset))
      offset += slice.localCount.roundedUp(toMultipleOf: Self.alignment)
    }
    if decayedParameterCount == ordered.count { decayedCount = offset }
    let elementCount = offset.roundedUp(toMultipleOf: Self.alignment * group.size)
    let share = elementCount / group.size
    self.slots = slots
    self.elementCount = elementCount
    self.decayedCount = decayedCount
    self.hasGradient = Array(repeating: false, count: slots.count)
    self.soleGradients = Array(repeating: nil, count: slots.count)
    let shardRange = group.index * share..<(group.index + 1) * share
    self.shardRange = shardRange
    let keepsMaster = purpose == .training || computeDType == .float32
    let master = keepsMaster ? Tensor.zeros([share], dtype: .float32, device: device) : nil
    self.master = master
    if computeDType == .float32, let master {
      self.compute = master
    } else {
      self.compute = Tensor.zeros([share], dtype: computeDType, device: device)
    }
    let isSharded = group.size > 1
    self.whole =
      isSharded
      ? Tensor.detachedStorage(count: elementCount, dtype: computeDType, device: device) : compute
    self.wholeGradient =
      isSharded
      ? Tensor.detachedStorage(count: elementCount, dtype: .float32, device: device) : nil
    self.float8 =
      isSharded && gathersFloat8
      ? Float8Weights(slots, elementCount: elementCount, own: shardRange, device: device) : nil
    for (index, slot) in slots.enumerated() {
      indices[ObjectIdentifier(slot.parameter)] = index
      slot.parameter.quantized = float8?.parameters[index]
      slot.parameter.value = view(whole, slot).leaf()
    }
  }

  func view(_ flat: Tensor, _ slot: Slot) -> Tensor {
    flat.narrowed(dim: 0, start: slot.offset, length: slot.slice.localCount)
      .view(slot.parameter.localShape)
  }

  func index(of parameter: Parameter) -> Int {
    guard let index = indices[ObjectIdentifier(parameter)] else {
      preconditionFailure("\(parameter.name) is not in the unit \(name)")
    }
    return index
  }

  /// Copies the master weights into the compute copy.
  ///
  /// Needed after each write to the master.
  public func publish() {
    guard let master, computeDType != .float32 else { return }
    withoutGradients { compute.copy(from: master) }
  }

  /// Where the unit lives.
  public var device: Device { compute.device }

  // MARK: Reading and writing parts

  /// The own part of the weights: the float32 master, or the compute tensor where there is none.
  public var weights: Tensor { master ?? compute }

  /// Where weights are written in a unit that one rank has alone: a view of `weights` with the
  /// parameter's shape.
  public func writableView(of parameter: Parameter) -> Tensor {
    precondition(group.size == 1, "\(name) is spread over \(group.size) ranks")
    return view(weights, slots[index(of: parameter)])
  }

  /// The own elements of a parameter, as runs between the whole parameter and the own part.
  ///
  /// `local` counts in the own part, `global` in the whole parameter.
  public func ownRuns(of parameter: Parameter) -> [ParameterSlice.Run] {
    let slot = slots[index(of: parameter)]
    let own = slot.range.clamped(to: shardRange)
    guard !own.isEmpty else { return [] }
    return slot.slice.runs(in: own.lowerBound - slot.offset..<own.upperBound - slot.offset)
      .map { run in
        ParameterSlice.Run(
          local: run.local + slot.offset - shardRange.lowerBound, global: run.global,
          count: run.count)
      }
  }

  /// Copies what the own part needs out of a piece of a whole parameter.
  ///
  /// - Parameters:
  ///   - source: Consecutive elements of the whole parameter, flat, of any floating dtype.
  ///   - start: Where they start in the whole parameter.
  ///   - parameter: The parameter.
  ///   - shard: The flat tensor of the own part that is written: master weights or moments.
  public func write(_ source: Tensor, at start: Int, of parameter: Parameter, to shard: Tensor) {
    let count = source.elementCount
    withoutGradients {
      for run in ownRuns(of: parameter).clamped(toGlobal: start..<start + count) {
        shard.narrowed(dim: 0, start: run.local, length: run.count)
          .copy(from: source.narrowed(dim: 0, start: run.global - start, length: run.count))
      }
    }
  }
}

extension Int {
  /// The smallest multiple of `step` that is not below this.
  func roundedUp(toMultipleOf step: Int) -> Int { (self + step - 1) / step * step }
}
