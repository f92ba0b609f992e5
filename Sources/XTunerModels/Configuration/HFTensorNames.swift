public import XTunerText

/// The tensors of a Hugging Face checkpoint, and where each belongs in the engine's parameters.
///
/// Every tensor of a file is one contiguous run of elements of one parameter, so loading and saving
/// are copies of bytes. Matrices are `[out, in]`. Shape legend: V vocabulary, H hidden, Q query
/// rows, K key rows, I feed-forward width, E experts, M expert width.
public struct HFTensorNames: Sendable, Hashable {
  /// A parameter of the engine.
  public struct Parameter: Sendable, Hashable {
    /// Its path, such as `layers.0.experts.gateUp.weight`.
    public var path: String
    /// Its sizes, outermost first.
    public var shape: [Int]

    /// How many elements it has.
    public var elementCount: Int { shape.reduce(1, *) }
  }

  /// A tensor of a file as a part of a parameter.
  public struct Entry: Sendable, Hashable {
    /// The tensor's name in the file.
    public var name: String
    /// The tensor's sizes in the file.
    public var shape: [Int]
    /// Path of the parameter that holds it.
    public var parameter: String
    /// Where the tensor starts in the parameter, in elements.
    public var elementOffset: Int

    /// How many elements it has.
    public var elementCount: Int { shape.reduce(1, *) }

    /// The elements of the parameter that are this tensor.
    public var elementRange: Range<Int> { elementOffset..<elementOffset + elementCount }
  }

  /// The engine's parameters, in the order of the forward pass.
  public private(set) var parameters: [Parameter] = []
  /// The file's tensors, in the order of the parameters.
  public private(set) var entries: [Entry] = []
  /// Names that a file may hold beside these: a head that is tied to the embedding, whose values
  /// `HFCheckpointFolder.untying(_:)` compares before a model is built.
  public private(set) var ignoredNames: Set<ExactText> = []

  /// The names of a model.
  public init(_ configuration: ModelConfiguration) {
    let hidden = configuration.hiddenSize
    let embeddingShape = [configuration.vocabularySize, hidden]
    add(Self.embeddingName, embeddingShape, to: "embedding.weight")
    for (index, layer) in configuration.layers.enumerated() {
      addAttention(layer.attention, layer: index, hiddenSize: hidden)
      addFeedForward(layer.feedForward, layer: index, hiddenSize: hidden)
    }
    add("model.norm.weight", [hidden], to: "finalNorm.weight")
    if configuration.tiesEmbeddings {
      ignoredNames.insert(Self.headName)
    } else {
      add(Self.headName, embeddingShape, to: "head.weight")
    }
  }

  /// The embedding's name in files.
  public static let embeddingName = "model.embed_tokens.weight"
  /// The head's name in files.
  public static let headName = "lm_head.weight"

  /// The names where a file holds a tied embedding under the head's name alone, as some programs
  /// write it.
  public func withEmbeddingUnderHeadName() -> HFTensorNames {
    var names = self
    names.entries = entries.map { entry in
      var entry = entry
      if entry.name == Self.embeddingName { entry.name = Self.headName }
      return entry
    }
    names.ignoredNames.remove(ExactText(Self.headName))
    return names
  }

  /// A parameter that is one tensor of the file.
  private mutating func add(_ name: String, _ shape: [Int], to path: String) {
    parameters.append(Parameter(path: path, shape: shape))
    entries.append(Entry(name: name, shape: shape, parameter: path, elementOffset: 0))
  }

  private mutating func addAttention(
    _ configuration: AttentionConfiguration, layer: Int, hiddenSize: Int
  ) {
    // Latent attention belongs to no family of `ModelFamily`; `validate()` refuses it.
    guard case .groupedQuery(let attention) = configuration else { return }
    let source = "model.layers.\(layer).self_attn"
    let target = "layers.\(layer).attention"
    let querySize = attention.querySize
    let keySize = attention.keyValueSize
    add(
      "model.layers.\(layer).input_layernorm.weight", [hiddenSize],
      to: "layers.\(layer).attentionNorm.weight")
    let projections = [
      ("q_proj", "query", querySize), ("k_proj", "key", keySize), ("v_proj", "value", keySize),
    ]
    for (name, path, size) in projections {
      add("\(source).\(name).weight", [size, hiddenSize], to: "\(target).\(path).weight")
      if attention.hasInputBias {
        add("\(source).\(name).bias", [size], to: "\(target).\(path).bias")
      }
    }
    if attention.normalizesQueryAndKey {
      add("\(source).q_norm.weight", [attention.headSize], to: "\(target).queryNorm.weight")
      add("\(source).k_norm.weight", [attention.headSize], to: "\(target).keyNorm.weight")
    }
    add("\(source).o_proj.weight", [hiddenSize, querySize], to: "\(target).output.weight")
    if attention.hasOutputBias {
      add("\(source).o_proj.bias", [hiddenSize], to: "\(target).output.bias")
    }
  }

  private mutating func addFeedForward(
    _ configuration: FeedForwardConfiguration, layer: Int, hiddenSize: Int
  ) {
    let source = "model.layers.\(layer).mlp"
    let target = "layers.\(layer)"
    add(
      "model.layers.\(layer).post_attention_layernorm.weight", [hiddenSize],
      to: "\(target).feedForwardNorm.weight")
    switch configuration {
    case .dense(let size):
      let path = "\(target).feedForward"
      let gateUp = Parameter(path: "\(path).gateUp.weight", shape: [2 * size, hiddenSize])
      parameters.append(gateUp)
      for (index, name) in ["gate_proj", "up_proj"].enumerated() {
        entries.append(
          Entry(
            name: "\(source).\(name).weight", shape: [size, hiddenSize], parameter: gateUp.path,
            elementOffset: index * size * hiddenSize))
      }
      add("\(source).down_proj.weight", [hiddenSize, size], to: "\(path).down.weight")
    case .mixture(let mixture):
      add(
        "\(source).gate.weight", [mixture.expertCount, hiddenSize], to: "\(target).router.weight")
      addExperts(mixture, source: source, target: "\(target).experts", hiddenSize: hiddenSize)
    }
  }

  /// `gateUp` is `[E, 2·M, H]`, the gate's rows before the up projection's; `down` is `[E, H, M]`.
  private mutating func addExperts(
    _ mixture: MixtureConfiguration, source: String, target: String, hiddenSize: Int
  ) {
    let experts = mixture.expertCount
    let size = mixture.expertSize
    let matrixCount = size * hiddenSize
    let gateUp = Parameter(path: "\(target).gateUp.weight", shape: [experts, 2 * size, hiddenSize])
    let down = Parameter(path: "\(target).down.weight", shape: [experts, hiddenSize, size])
    parameters += [gateUp, down]
    for expert in 0..<experts {
      let prefix = "\(source).experts.\(expert)"
      entries += [
        Entry(
          name: "\(prefix).gate_proj.weight", shape: [size, hiddenSize], parameter: gateUp.path,
          elementOffset: 2 * expert * matrixCount),
        Entry(
          name: "\(prefix).up_proj.weight", shape: [size, hiddenSize], parameter: gateUp.path,
          elementOffset: (2 * expert + 1) * matrixCount),
        Entry(
          name: "\(prefix).down_proj.weight", shape: [hiddenSize, size], parameter: down.path,
          elementOffset: expert * matrixCount),
      ]
    }
  }
}
