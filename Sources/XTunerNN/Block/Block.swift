public import Torch

/// The unit that is gathered, recomputed, swapped and interleaved: a decoder layer, for example.
public protocol Block: Module {
  /// Unique in the model, such as `layers.3`.
  var name: String { get }
  /// The stages, in order.
  var stages: [Stage] { get }
  /// The experts that its tokens are routed to; nil where every token passes the same weights.
  var routedExperts: RoutedExperts? { get }
  /// What mixes its tokens; nil where nothing does.
  var attention: (any AttentionPart)? { get }
  /// The parameters of one kind of layer, in the order of the forward pass.
  func parameters(of module: Float8Module) -> [Parameter]
}

/// How many experts there are, and how many a token goes through.
public struct RoutedExperts: Sendable, Hashable {
  /// Routed experts.
  public let count: Int
  /// Routed experts a token.
  public let perToken: Int
  /// Width of one.
  public let size: Int

  /// Experts from their counts and width.
  public init(count: Int, perToken: Int, size: Int) {
    self.count = count
    self.perToken = perToken
    self.size = size
  }
}

/// The heads of an attention layer.
public struct HeadCounts: Sendable, Hashable {
  /// Query heads.
  public let query: Int
  /// Key and value heads.
  public let keyValue: Int

  /// Heads from their counts.
  public init(query: Int, keyValue: Int) {
    self.query = query
    self.keyValue = keyValue
  }
}

/// What a block remembers of one micro-batch beside tensors: the expert choice above all, which a
/// recomputation reads instead of routing again.
///
/// Parts and exchanges leave values of their own types, one of each.
public final class BlockRecord {
  private var values = ValuesByType()

  /// An empty record.
  public init() {}

  /// The value of a type, where one was left.
  public subscript<Value>(type: Value.Type) -> Value? {
    get { values[type] }
    set { values[type] = newValue }
  }
}

/// At most one value of each type.
struct ValuesByType {
  private var values: [ObjectIdentifier: Any] = [:]

  subscript<Value>(type: Value.Type) -> Value? {
    get { values[ObjectIdentifier(type)] as? Value }
    set { values[ObjectIdentifier(type)] = newValue }
  }
}

extension Block {
  /// Runs the stages in order: the plain single-device model, for tests and generation.
  public func callAsFunction(
    _ input: Tensor, _ context: ForwardContext, record: BlockRecord = BlockRecord()
  ) -> Tensor {
    var values: [StageValue: Tensor] = [.input: input]
    for stage in stages {
      let outputs = stage.run(stage.inputs.map { values.at($0) }, context, record)
      for (name, tensor) in zip(stage.outputs, outputs) { values[name] = tensor }
    }
    return values.at(.output)
  }
}

extension [StageValue: Tensor] {
  /// The value of that name; a stage that reads what no stage made is a mistake in the block.
  public func at(_ name: StageValue) -> Tensor {
    guard let tensor = self[name] else { preconditionFailure("no stage made '\(name)'") }
    return tensor
  }
}
