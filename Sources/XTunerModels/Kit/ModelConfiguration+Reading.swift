import Foundation

/// Reading of `config.json`.
extension ModelConfiguration {
  /// The configuration in a Hugging Face folder, or in a `config.json` named directly.
  ///
  /// - Parameter path: a folder that holds `config.json`, or the file.
  /// - Throws: `ModelConfigurationError` with every problem of the file.
  public init(path: String) throws(ModelConfigurationError) {
    var isFolder: ObjCBool = false
    let exists = FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
    let file = exists && isFolder.boolValue ? "\(path)/config.json" : path
    let text: Data
    do {
      text = try Data(contentsOf: URL(fileURLWithPath: file))
    } catch {
      let reason = "cannot be read; a Hugging Face model folder holds one"
      throw ModelConfigurationError(file: file, problems: [.init(key: "", reason: reason)])
    }
    try self.init(parsing: text, file: file)
  }

  /// The configuration in the text of a `config.json`, in the hub's or transformers 5's spelling.
  ///
  /// - Parameters:
  ///   - text: the bytes of the file.
  ///   - file: what messages call it.
  /// - Throws: `ModelConfigurationError` with every problem of the file.
  public init(
    parsing text: some Collection<UInt8>, file: String
  ) throws(ModelConfigurationError) {
    let document: JSONDocument
    do {
      document = try JSONDocument(parsing: text)
    } catch {
      throw ModelConfigurationError(
        file: file, problems: [.init(key: "", reason: "not valid JSON: \(error)")])
    }
    guard let object = document.object else {
      let reason = "must be a JSON object, is \(document.kind)"
      throw ModelConfigurationError(file: file, problems: [.init(key: "", reason: reason)])
    }
    try self.init(object: object, file: file)
  }

  private init(object: JSONObject, file: String) throws(ModelConfigurationError) {
    var reader = ConfigurationReader(object)
    guard let family = Self.readFamily(from: &reader) else {
      throw ModelConfigurationError(file: file, problems: reader.problems)
    }
    self = family.read(&reader)
    source = object

    let problems =
      reader.problems
      + consistencyProblems().filter { reader.rejectedKeys.isDisjoint(with: $0.keys) }
      .map(\.problem).map { .init(key: Self.spelling(of: $0.key, in: object), reason: $0.reason) }
    guard problems.isEmpty else {
      throw ModelConfigurationError(file: file, problems: Self.inFileOrder(problems, of: object))
    }
  }

  /// A key of the hub as the file spells it.
  private static func spelling(of key: String, in object: JSONObject) -> String {
    let first = key.prefix { $0 != "." }
    guard object[String(first)] == nil else { return key }
    switch first {
    case "num_experts" where object["num_local_experts"] != nil: return "num_local_experts"
    case "rope_theta" where object["rope_parameters"] != nil: return "rope_parameters.rope_theta"
    case "rope_scaling": return "rope_parameters\(key.dropFirst(first.count))"
    default: return key
    }
  }

  /// Problems of absent keys come last.
  private static func inFileOrder(
    _ problems: [ModelConfigurationError.Problem], of object: JSONObject
  ) -> [ModelConfigurationError.Problem] {
    func position(_ problem: ModelConfigurationError.Problem) -> Int {
      let key = problem.key.split(separator: ".").first.map(String.init)
      return object.keys.firstIndex { $0 == key } ?? object.count
    }
    return problems.enumerated()
      .sorted { (position($0.element), $0.offset) < (position($1.element), $1.offset) }
      .map(\.element)
  }

  static func readFamily(from reader: inout ConfigurationReader) -> ModelFamily? {
    let modelType = reader.optionalString("model_type")
    let architectures = reader.optionalStrings("architectures") ?? []
    guard reader.problems.isEmpty else { return nil }
    let byType = modelType.flatMap { ModelFamily(modelType: $0) }
    let byArchitecture = ModelFamily.allCases.first { architectures.contains($0.architecture) }

    let supported = ModelFamily.allCases
      .map { "\($0.architecture) (model_type \($0.modelType))" }.joined(separator: ", ")
    if modelType == nil && architectures.isEmpty {
      reader.reject("model_type", "is missing, as is architectures; supported: \(supported)")
      return nil
    }
    let name = architectures.isEmpty ? "" : architectures.joined(separator: ", ")
    if modelType != nil && byType == nil || byType == nil && byArchitecture == nil
      || !architectures.isEmpty && byArchitecture == nil
    {
      let type = modelType.map { name.isEmpty ? "model_type \($0)" : " (model_type \($0))" } ?? ""
      reader.reject(
        architectures.isEmpty ? "model_type" : "architectures",
        "\(name)\(type) is not supported; supported: \(supported)")
      return nil
    }
    if let byType, let byArchitecture, byType != byArchitecture {
      reader.reject(
        "architectures",
        "\(name) contradicts model_type \(byType.modelType), which goes with "
          + byType.architecture)
      return nil
    }
    return byType ?? byArchitecture
  }

  static func readLayerCount(from reader: inout ConfigurationReader) -> Int {
    let count = reader.integer("num_hidden_layers")
    guard (1...ConfigurationLimit.layerCount).contains(count) else {
      reader.reject(
        "num_hidden_layers", "must be between 1 and \(ConfigurationLimit.layerCount), is \(count)")
      return 1
    }
    return count
  }

  static func readEndTokens(from reader: inout ConfigurationReader) -> [Int] {
    guard let value = reader.value(["eos_token_id"]) else { return [] }
    if value.array != nil { return reader.optionalIntegers("eos_token_id") ?? [] }
    return reader.optionalInteger("eos_token_id").map { [$0] } ?? []
  }

  static func readWeightType(from reader: inout ConfigurationReader) -> String {
    let name = reader.string("torch_dtype", "dtype", default: "bfloat16")
    let known = ["bfloat16", "float16", "float32"]
    if !name.isEmpty && !known.contains(name) {
      reader.reject(
        "torch_dtype", "must be one of \(known.joined(separator: ", ")), is \(name)")
    }
    return name
  }
}
