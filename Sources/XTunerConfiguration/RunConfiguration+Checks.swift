import XTunerText

extension RunConfiguration {
  /// Rejects combinations of options that cannot be honoured together.
  func check(_ problems: inout ConfigurationProblems) {
    checkModel(&problems)
    checkModelKeys(&problems)
    checkFloat8(&problems)
    checkData(&problems)
    checkTraining(&problems)
    checkSchedule(&problems)
    optimizer.check(&problems, parallel: parallel, model: model)
    problems.check(
      "evaluation.every_steps", evaluation.everySteps == nil || hasEvaluationData,
      "needs held-out data; give data.evaluation or data.validation_split")
  }

  private var hasEvaluationData: Bool {
    !data.evaluation.isEmpty || data.validationSplit != nil
  }

  private func checkModel(_ problems: inout ConfigurationProblems) {
    let sources: [(key: String, isGiven: Bool)] = [
      ("path", model.path != nil), ("preset", model.preset != nil),
      ("architecture", model.architecture != nil),
    ]
    let given = sources.filter(\.isGiven).map(\.key)
    let all = ["model.path", "model.preset", "model.architecture"]
    problems.require(
      "model", in: "model", involving: all, !given.isEmpty,
      "needs one of path (a Hugging Face folder), preset or architecture")
    problems.check(
      "model.\(given.last ?? "path")", involving: all, given.count <= 1,
      "cannot be combined with \(given.dropLast().joined(separator: " and ")); keep one")
    problems.check(
      "model.weights", involving: all,
      model.weights != .load || model.path != nil || given.isEmpty,
      "must be random without model.path, is load")
    problems.check(
      "model.overrides", involving: all, model.overrides == nil || model.architecture == nil,
      "cannot be combined with architecture; put the keys there")
    problems.require(
      "tokenizer.path", in: "tokenizer", involving: all,
      tokenizer.path != nil || model.path != nil || given.isEmpty,
      "must be given, because model.path is not")
  }

  private func checkData(_ problems: inout ConfigurationProblems) {
    problems.require(
      "data.train", in: "data", !data.train.isEmpty,
      "needs at least one source; give a path or a list of paths")
    check(sources: data.train, at: "data.train", &problems)
    check(sources: data.evaluation, at: "data.evaluation", &problems)
    problems.check(
      "data.validation_split", involving: ["data.evaluation"],
      data.validationSplit == nil || data.evaluation.isEmpty,
      "cannot be combined with data.evaluation; keep one")
  }

  private func check(
    sources: [DataOptions.Source], at keyPath: String, _ problems: inout ConfigurationProblems
  ) {
    var names: [ExactText: Int] = [:]
    for (index, source) in sources.enumerated() {
      let path = "\(keyPath)[\(index)]"
      problems.require(
        "\(path).path", in: path, involving: [path], !source.path.isEmpty, "must be given")
      guard let name = source.name else { continue }
      if let first = names.updateValue(index, forKey: name) {
        problems.reject(
          "\(path).name", "must differ from that of \(keyPath)[\(first)], is \(name)")
      }
    }
  }

  private func checkTraining(_ problems: inout ConfigurationProblems) {
    problems.require(
      "training", in: "training", involving: ["training.steps", "training.epochs"],
      training.steps != nil || training.epochs != nil, "needs steps or epochs")
    problems.check(
      "training.epochs", involving: ["training.steps"],
      training.steps == nil || training.epochs == nil,
      "cannot be combined with training.steps; set one of them to null")
    problems.check(
      "training.micro_batch_packs", involving: ["training.packs_per_step"],
      training.packsPerStep % training.microBatchPacks == 0,
      """
      must divide training.packs_per_step (\(training.packsPerStep)), \
      is \(training.microBatchPacks)
      """)
    problems.check(
      "training.kept_stages", involving: ["training.recompute"],
      training.recompute == .selective || training.keptStages == [.attend],
      "is for training.recompute selective")
    problems.check(
      "training.swap_activations", involving: ["training.recompute"],
      !training.swapsActivations || training.recompute != .none,
      "needs recomputed layers: set training.recompute to full, selective or a share")
    let reader = training.keptStages.first(where: \.readsInput)
    problems.check(
      "training.swap_activations", involving: ["training.recompute", "training.kept_stages"],
      !training.swapsActivations || training.recompute != .selective || reader == nil,
      """
      cannot be combined with \(reader?.rawValue ?? "") in training.kept_stages, which keeps the \
      layer's input in memory
      """)
  }

  private func checkSchedule(_ problems: inout ConfigurationProblems) {
    problems.check(
      "schedule.warmup_ratio", involving: ["schedule.warmup_steps"],
      schedule.warmupRatio == nil || schedule.warmupSteps == nil,
      "cannot be combined with schedule.warmup_steps; set one of them to null")
    problems.check(
      "schedule.decay_ratio", involving: ["schedule.decay_steps"],
      schedule.decayRatio == nil || schedule.decaySteps == nil,
      "cannot be combined with schedule.decay_steps; set one of them to null")
    let name = schedule.name
    if name == .wsd {
      problems.require(
        "schedule", in: "schedule", involving: ["schedule.decay_steps", "schedule.decay_ratio"],
        schedule.decaySteps != nil || schedule.decayRatio != nil,
        "wsd needs decay_steps or decay_ratio")
    } else {
      problems.check(
        "schedule.decay_steps", involving: ["schedule.name"], schedule.decaySteps == nil,
        "is for schedule.name wsd, which is \(name.rawValue)")
      problems.check(
        "schedule.decay_ratio", involving: ["schedule.name"], schedule.decayRatio == nil,
        "is for schedule.name wsd, which is \(name.rawValue)")
    }
    problems.check(
      "schedule.minimum_learning_rate_ratio", involving: ["schedule.name"],
      name != .constant || schedule.minimumLearningRateRatio == 0,
      "must be 0 with schedule.name constant, is \(schedule.minimumLearningRateRatio)")
    checkScheduleLength(&problems)
  }

  /// Warm-up and decay must fit into the run, as far as its length is known here.
  private func checkScheduleLength(_ problems: inout ConfigurationProblems) {
    let ratios = (schedule.warmupRatio ?? 0) + (schedule.decayRatio ?? 0)
    problems.check(
      "schedule.decay_ratio", involving: ["schedule.warmup_ratio"], ratios <= 1,
      "must leave room for the warm-up: both together are at most 1, are \(ratios)")
    guard let steps = training.steps else { return }
    let warmup = schedule.warmupSteps ?? 0
    problems.check(
      "schedule.warmup_steps", involving: ["training.steps"], warmup <= steps,
      "must be at most training.steps (\(steps)), is \(warmup)")
    guard let decay = schedule.decaySteps, warmup <= steps else { return }
    problems.check(
      "schedule.decay_steps", involving: ["training.steps", "schedule.warmup_steps"],
      warmup + decay <= steps,
      """
      must be at most training.steps less the warm-up (\(steps - warmup)), is \(decay)
      """)
  }

  /// Rejects what can be seen without the model.
  func checkFloat8(_ problems: inout ConfigurationProblems) {
    problems.check(
      "model.fp8", involving: ["run.device"],
      model.float8 != .native || run.device == .cuda || run.device == .auto,
      """
      native needs a GPU of compute capability 9.0, and run.device is \(run.device.rawValue); \
      emulated computes the same numbers on a CPU, slowly, and none trains in model.dtype
      """)
    problems.check(
      "model.fp8", involving: ["model.dtype"], model.float8 == .none || model.dtype == .bf16,
      "needs model.dtype bf16, in which the results of float8 products are, not f32")
    problems.check(
      "model.fp8_modules", involving: ["model.fp8"],
      model.float8Modules == nil || model.float8 != .none, "is for model.fp8 emulated or native")
    problems.check(
      "model.fp8_modules", model.float8Modules?.isEmpty != true,
      "must name at least one of \(ModelOptions.Float8Layer.allCases.map(\.rawValue).joined(separator: ", "))"
    )
  }
}

extension RunConfiguration {
  /// The keys of a `config.json` that any family of models knows; sorted.
  ///
  /// The families' own tables are in XTunerModels, which needs libtorch; a test compares both.
  package static let modelKeys = [
    "_name_or_path", "architectures", "attention_bias", "attention_dropout", "bos_token_id",
    "decoder_sparse_step", "dtype", "eos_token_id", "head_dim", "hidden_act", "hidden_size",
    "initializer_range", "intermediate_size", "layer_types", "max_position_embeddings",
    "max_window_layers", "mlp_only_layers", "model_type", "moe_intermediate_size", "norm_topk_prob",
    "num_attention_heads", "num_experts", "num_experts_per_tok", "num_hidden_layers",
    "num_key_value_heads", "num_local_experts", "original_max_position_embeddings",
    "output_router_logits", "pad_token_id", "partial_rotary_factor", "quantization_config",
    "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta", "router_aux_loss_coef",
    "sliding_window", "tie_word_embeddings", "torch_dtype", "transformers_version", "use_cache",
    "use_sliding_window", "vocab_size",
  ]

  /// Refuses keys of `model.architecture` and `model.overrides` that no family knows: written by hand,
  /// they are misspelt.
  func checkModelKeys(_ problems: inout ConfigurationProblems) {
    let known = Self.modelKeys
    for (name, value) in [("architecture", model.architecture), ("overrides", model.overrides)] {
      guard case .mapping(let entries) = value else { continue }
      for entry in entries where !known.contains(entry.key) {
        let path = "model.\(name).\(entry.key)"
        let hint = UnknownKey.hint(for: entry.key, known: known, section: "model.\(name)")
        problems.reject(path, "is no key of config.json that has an effect here; \(hint)")
      }
    }
  }
}
