import XTunerInput

/// The section `data`: sources, packing and what happens to unusable samples.
public struct DataOptions: Sendable, Equatable {
  /// How the samples of a source are written.
  public enum Format: String, Sendable, CaseIterable {
    /// Found out from the first records.
    case auto
    /// OpenAI-style `messages`.
    case messages
    /// ShareGPT `conversations`.
    case sharegpt
    /// Alpaca `instruction`, `input`, `output`.
    case alpaca
    /// JSONL with a `text` a line.
    case text
    /// A plain text file.
    case plain
  }

  /// How samples share a sequence.
  public enum Packing: String, Sendable, CaseIterable {
    /// Whole samples, best fit with look-ahead.
    case bestFit = "best_fit"
    /// Samples one after the other, cut at the sequence length.
    case split
    /// One sample a pack.
    case none
  }

  /// What a broken record does.
  public enum ErrorPolicy: String, Sendable, CaseIterable {
    /// Stops the run with the file and line.
    case stop
    /// Skips the record and counts it.
    case skip
  }

  /// What happens to a sample longer than the sequence.
  public enum Overlong: String, Sendable, CaseIterable {
    /// Cuts a text into pieces and keeps the beginning of a conversation.
    case auto
    /// Keeps its beginning.
    case truncate
    /// Leaves it out and counts it.
    case drop
    /// Stops the run with the file and line.
    case error
    /// Cuts a text into pieces; a conversation stops the run.
    case split
  }

  /// How much a model is told to think before it answers.
  public enum Effort: String, Sendable, CaseIterable {
    case low, medium, high
  }

  /// A file, folder or glob of samples.
  public struct Source: Sendable, Equatable {
    /// File, folder or glob.
    public var path = ""
    /// Name in statistics and metrics; `nil` only before resolution.
    public var name: String?
    /// How the samples are written.
    public var format = Format.auto
    /// How often each sample is seen in an epoch.
    public var weight = 1.0

    /// Creates a source without a path, which is not usable yet.
    public init() {}

    /// Creates a source with the defaults of everything but its path.
    public init(path: String) {
      self.path = path
    }
  }

  /// Sources to train on.
  public var train: [Source] = []
  /// Sources to evaluate on.
  public var evaluation: [Source] = []
  /// Share of the training samples held out for evaluation instead.
  public var validationSplit: Double?
  /// Chooses which samples are held out.
  public var validationSeed = 0
  /// Name of the chat template; `nil` for the folder's own, or the model family's.
  public var template: String?
  /// The date that gpt-oss is told, `YYYY-MM-DD`; `nil` for the day on which the run starts.
  public var currentDate: String?
  /// The effort that gpt-oss is told; `nil` for medium.
  public var reasoningEffort: Effort?
  /// Tokens of a pack at most.
  public var sequenceLength = 4096
  /// How samples share a sequence.
  public var packing = Packing.bestFit
  /// Samples that best fit looks ahead.
  public var packingWindow = 1024
  /// Steps among which packs are exchanged so that those of a step cost alike; 1 for none.
  public var groupSteps = 1
  /// What a broken record does.
  public var onError = ErrorPolicy.stop
  /// What happens to a sample longer than the sequence.
  public var overlong = Overlong.auto
  /// Bytes of a record at most.
  public var maxRecordBytes = 1 << 28
  /// Largest share of samples without any label.
  public var maxMaskedShare = 0.5
  /// Where tokenised samples are kept; `nil` only before resolution.
  public var cacheDirectory: String?
  /// Whether the order changes with seed and epoch.
  public var shuffle = true
  /// Threads that read and tokenise.
  public var workers = 2
  /// Token that ends a document of pre-training text; `nil` for the tokenizer's own.
  public var endOfDocument: String?

  /// Creates the section with its defaults.
  public init() {}
}

extension DataOptions: ConfigurationSection {
  static let summary = "What the model learns from, and how samples become packs of tokens."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "train", \.train, listOf: "sources", shorthand: Source.init(path:),
      "Sources to train on: a path, or a list of paths and of mappings with the keys below."),
    .init(
      "evaluation", \.evaluation, listOf: "sources", shorthand: Source.init(path:),
      "Held-out sources for evaluation, written as in train."),
    .init(
      "validation_split", \.validationSplit, .optional(.number(.openShare)),
      """
      Share of the training documents and conversations that is held out for evaluation instead, \
      chosen by their contents.
      """),
    .init(
      "validation_seed", \.validationSeed, .integer(from: 0, .seed),
      """
      Chooses which samples validation_split holds out; apart from run.seed, so that runs of \
      several seeds are evaluated on the same ones.
      """),
    .init(
      "template", \.template, .optional(.text("name")),
      computedDefault: "the folder's own template, or the model family's",
      """
      Chat template that renders conversations, such as qwen3. Without it the one that the \
      tokenizer's or the model's folder brings is recognised.
      """),
    .init(
      "current_date", \.currentDate, .optional(.date),
      computedDefault: "the day on which the run starts",
      "Date that the system message of gpt-oss tells; a resumed run keeps its own."),
    .init(
      "reasoning_effort", \.reasoningEffort, .optional(.choice()), computedDefault: "medium",
      "Effort that the system message of gpt-oss tells."),
    .init(
      "sequence_length", \.sequenceLength, .integer(from: 2, .tokens),
      "Tokens of a pack at most."),
    .init(
      "packing", \.packing, .choice(),
      """
      How samples share a pack: best_fit keeps them whole, split cuts them at the pack's end, \
      none gives each its own pack. Attention never crosses samples.
      """),
    .init(
      "packing_window", \.packingWindow, .integer(from: 1, .samples),
      "Samples that best_fit looks ahead for one that fits."),
    .init(
      "group_steps", \.groupSteps, .integer(from: 1, .groupedSteps),
      """
      Steps among which packs are exchanged so that the packs of a step cost alike and no rank \
      waits for a dear one; 1 leaves steps as they come. Which samples are averaged in one update \
      then depends on what they cost.
      """),
    .init(
      "on_error", \.onError, .choice(),
      "What a broken record does: stop names its file and line, skip counts it and goes on."),
    .init(
      "overlong", \.overlong, .choice(),
      """
      What happens to a sample longer than sequence_length: auto cuts texts into pieces and \
      truncates conversations, truncate keeps the beginning, drop leaves it out, error stops the \
      run, split cuts texts and stops at a conversation.
      """),
    .init(
      "max_record_bytes", \.maxRecordBytes, .integer(from: 4096, .recordBytes),
      """
      Bytes of one record at most, and of the window that a zstd file asks for: no small compressed \
      file can fill the memory. Text files that are not compressed are as large as they are.
      """),
    .init(
      "max_masked_share", \.maxMaskedShare, .number(.share),
      """
      Share of samples, or of packs, without any label above which the run stops and names the \
      files.
      """),
    .init(
      "cache_directory", \.cacheDirectory, .optional(.text("path")),
      computedDefault: "~/.cache/xtuner/tokens",
      "Where tokenised samples are kept for the next run; `~/.cache` is `$XDG_CACHE_HOME` where that is set."
    ),
    .init(
      "shuffle", \.shuffle, .flag,
      "Whether the order of samples changes with the seed and the epoch."),
    .init(
      "workers", \.workers, .integer(from: 1, .threads),
      "Threads that read and tokenise samples."),
    .init(
      "end_of_document", \.endOfDocument, .optional(.text("token")),
      computedDefault: "the tokenizer's end token",
      "Token put after each document of pre-training text, such as <|endoftext|>."),
  ]
}

extension DataOptions.Source: ConfigurationSection {
  static let summary = "A data source."

  static let fields: [ConfigurationField<Self>] = [
    .init(
      "path", \.path, .text("path"),
      "File, folder or glob; .jsonl, .json, .txt and their .gz and .zst are read."),
    .init(
      "name", \.name, .optional(.text("name")), computedDefault: "the path's last part",
      "Name of the source in statistics and metrics."),
    .init(
      "format", \.format, .choice(),
      "How samples are written; auto finds it out from the first records and says why."),
    .init(
      "weight", \.weight, .number(.positive, .copies),
      "How often each sample is seen in an epoch: 2 is twice, 0.5 is half of the samples."),
  ]
}
