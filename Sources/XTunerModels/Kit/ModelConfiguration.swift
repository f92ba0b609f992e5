public import XTunerNN

/// The shape of a decoder language model: everything that decides its parameters and its forward
/// pass, independent of how a checkpoint spells it.
///
/// Each layer carries its own attention and feed-forward description, so that models which mix
/// dense and expert layers, or sliding and full attention, need no special case.
public struct ModelConfiguration: Sendable, Hashable {
  /// The architecture whose names and file format this model uses.
  public var family: ModelFamily
  /// Rows of the embedding, and of the head.
  public var vocabularySize: Int
  /// Width of the residual stream.
  public var hiddenSize: Int
  /// Width of dense feed-forward layers; kept in `config.json` also where no layer is dense.
  public var intermediateSize: Int
  /// The decoder layers, first to last.
  public var layers: [DecoderLayerOptions]
  /// Rotary position embedding, shared by all layers.
  public var rotary: RotaryConfiguration
  /// Added to the mean square in every RMS norm.
  public var normEpsilon: Double
  /// Whether the head is the embedding itself.
  public var tiesEmbeddings: Bool
  /// Longest context the model was made for, in tokens.
  public var maximumPositionCount: Int
  /// Standard deviation of freshly drawn weights.
  public var initializerRange: Double
  /// Token that starts a document, where the family has one.
  public var beginTokenID: Int?
  /// Tokens that end a generation; empty where the file names none.
  public var endTokenIDs: [Int]
  /// Token used as padding, where the family has one.
  public var paddingTokenID: Int?
  /// Element type of the published weights, such as `bfloat16`.
  public var weightType: String
  /// Whether the matrices in the files are float8 in blocks of 128 x 128, each with a scale.
  public var hasFloat8Blocks = false
  /// Weight of the load-balancing loss that the published configuration asks for.
  public var balanceLossCoefficient: Double
  /// The `config.json` this was read from, whose unknown keys survive an export; nil for presets.
  public var source: JSONObject?

  /// A configuration from all its parts; `validate()` says whether they fit together.
  public init(
    family: ModelFamily, vocabularySize: Int, hiddenSize: Int, intermediateSize: Int,
    layers: [DecoderLayerOptions], rotary: RotaryConfiguration, normEpsilon: Double,
    tiesEmbeddings: Bool, maximumPositionCount: Int, initializerRange: Double = 0.02,
    beginTokenID: Int? = nil, endTokenIDs: [Int] = [], paddingTokenID: Int? = nil,
    weightType: String = "bfloat16", balanceLossCoefficient: Double = 0.001,
    source: JSONObject? = nil
  ) {
    self.family = family
    self.vocabularySize = vocabularySize
    self.hiddenSize = hiddenSize
    self.intermediateSize = intermediateSize
    self.layers = layers
    self.rotary = rotary
    self.normEpsilon = normEpsilon
    self.tiesEmbeddings = tiesEmbeddings
    self.maximumPositionCount = maximumPositionCount
    self.initializerRange = initializerRange
    self.beginTokenID = beginTokenID
    self.endTokenIDs = endTokenIDs
    self.paddingTokenID = paddingTokenID
    self.weightType = weightType
    self.balanceLossCoefficient = balanceLossCoefficient
    self.source = source
  }

  /// What the parts of its blocks share.
  public var blockSizes: BlockSizes {
    BlockSizes(
      hiddenSize: hiddenSize, normEpsilon: normEpsilon, standardDeviation: initializerRange)
  }
}
