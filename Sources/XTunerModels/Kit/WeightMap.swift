public import XTunerNN

/// The tensors of a Hugging Face checkpoint, and where each belongs in the engine's parameters.
///
/// Every tensor of a file is one contiguous run of elements of one parameter, so loading and saving
/// are copies of bytes. Matrices are `[out, in]`. A family's `Weights` file is the table; sizes come
/// from the built model.
public struct WeightMap: Sendable, Hashable {
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
  public let parameters: [Parameter]
  /// The file's tensors, in the order of the parameters.
  public private(set) var entries: [Entry] = []
  /// A name that a file may hold beside these, or in the embedding's place: that of a tied head.
  ///
  /// `HFCheckpointFolder.untying(_:)` compares both before a model is built.
  public private(set) var tiedHeadName: String?
  private var shapes: [String: [Int]] = [:]  // own names

  /// The names of a model, as its family's table gives them.
  public init(_ configuration: ModelConfiguration) { self.init(configuration.makeModel()) }

  /// The names of a model's weights.
  public init(_ model: LanguageModel) {
    parameters = model.parameters.map { Parameter(path: $0.name, shape: $0.shape) }
    // own names
    shapes = Dictionary(uniqueKeysWithValues: parameters.map { ($0.path, $0.shape) })
    model.configuration.family.mapWeights(model.configuration, &self)
    let named = Set(entries.map(\.parameter))  // own names
    precondition(
      parameters.allSatisfy { named.contains($0.path) },
      "\(model.configuration.family.modelType): a weight has no name in files")
  }

  /// Each tensor of a file with the parameter of `model`, which this is the map of, that holds it.
  public func placed(
    in model: LanguageModel
  ) -> [(entry: Entry, parameter: XTunerNN.Parameter)] {
    // own names
    let parameters = Dictionary(uniqueKeysWithValues: model.parameters.map { ($0.name, $0) })
    return entries.map { entry in
      guard let parameter = parameters[entry.parameter] else {
        preconditionFailure("the map has \(entry.parameter), the model has not")
      }
      return (entry, parameter)
    }
  }

  /// The embedding's name in files.
  public var embeddingName: String? {
    entries.first { $0.parameter == TokenEmbedding.weightName }?.name
  }

  /// The names where a file holds a tied embedding under the head's name alone, as some programs
  /// write it.
  public func withEmbeddingUnderHeadName() -> WeightMap {
    guard let tiedHeadName else { return self }
    var names = self
    names.entries = entries.map { entry in
      var entry = entry
      if entry.parameter == TokenEmbedding.weightName { entry.name = tiedHeadName }
      return entry
    }
    names.tiedHeadName = nil
    return names
  }

  // MARK: Rows of a family's table

  /// A parameter that is one tensor of the file.
  mutating func whole(_ name: String, is path: String) { fused([name], are: path) }

  /// Tensors of the file that are equal parts of one parameter, rows after rows.
  mutating func fused(_ names: [String], are path: String) {
    var shape = shape(of: path)
    shape[0] /= names.count
    for (index, name) in names.enumerated() {
      entries.append(
        Entry(
          name: name, shape: shape, parameter: path,
          elementOffset: index * shape.reduce(1, *)))
    }
  }

  /// Parameters `[E, ...]` whose experts each have a tensor of the file, or several, rows after rows;
  /// the file's tensors of one expert follow each other.
  mutating func perExpert(_ parts: [(path: String, names: (_ expert: Int) -> [String])]) {
    let wholes = parts.map { shape(of: $0.path) }
    for expert in 0..<(wholes.first?[0] ?? 0) {
      for (part, whole) in zip(parts, wholes) {
        let names = part.names(expert)
        let shape = [whole[1] / names.count] + whole[2...]
        let count = shape.reduce(1, *)
        for (index, name) in names.enumerated() {
          entries.append(
            Entry(
              name: name, shape: shape, parameter: part.path,
              elementOffset: (expert * names.count + index) * count))
        }
      }
    }
  }

  /// The name that files may have for a head which is the embedding itself.
  mutating func tiedHead(_ name: String) { tiedHeadName = name }

  private func shape(of path: String) -> [Int] {
    guard let shape = shapes[path] else { preconditionFailure("no parameter is called \(path)") }
    return shape
  }
}
