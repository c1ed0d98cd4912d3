// csv and json: the table itself, in one file.
#include <fmt/core.h>

#include <cmath>

#include "kernels/error.hpp"
#include "model/atomic_file.hpp"
#include "model/factor_file.hpp"
#include "model/mapped_file.hpp"
#include "model/table_json.hpp"
#include "search/cli/export/format.hpp"

namespace longrope::cli {
namespace {

/// One factor per line: nothing but the long table's factors.
class CsvFormat final : public ExportFormat {
 public:
  explicit CsvFormat(const ExportRequest& request) : ExportFormat(request) {
    if (request.tables.switches)
      throw InputError("[export csv] a CSV holds one table (use --mode static, or --to json for two)");
  }

  std::vector<std::string> warnings() const override {
    const model::RopeTable& table = request().tables.long_table;
    std::vector<std::string> warnings;
    if (table.start_tokens > 0) {
      warnings.push_back(fmt::format("the file holds the factors alone, not start_tokens={}", table.start_tokens));
    }
    const double formula = default_attention_factor();
    if (!(std::abs(table.attention_factor - formula) <= 1e-12 * formula)) {
      warnings.push_back(
          fmt::format("the file holds the factors alone, not attention_factor={:.17g}; a reader will use sqrt(1 + ln s "
                      "/ ln L0), {:.9g}",
                      table.attention_factor, formula));
    }
    return warnings;
  }

  model::ExportTables applied() const override {
    model::ExportTables tables = request().tables;
    tables.long_table.start_tokens = 0;
    tables.long_table.attention_factor = default_attention_factor();
    tables.short_table = tables.long_table;
    return tables;
  }

  std::string notes() const override {
    return fmt::format(
        "One rescale factor per line, pair index 0 first, for {} tokens. It says nothing of an attention factor or of "
        "start\n"
        "tokens. What reads it (`--rope longrope:FILE` here, microsoft/LongRoPE) uses it at every length.\n",
        request().tables.target_length);
  }

  void write(const std::string& readme) const override {
    std::string text;  // the shortest decimals that read back exactly
    for (const double factor : request().tables.long_table.factors) text += fmt::format("{}\n", factor);
    model::FileWithReadme file(request().out, readme);
    file.main().append(text);
    file.commit();
  }

  model::ExportTables reread() const override {
    const model::RopeTable table = model::RopeTable::from_factors(
        request().config.rope, model::read_factor_file(request().out).factors, default_attention_factor(), 0);
    return {table, table, false, request().tables.target_length};
  }

 private:
  double default_attention_factor() const {
    const double scale = static_cast<double>(request().tables.target_length) / static_cast<double>(original_length());
    return model::longrope_attention_factor(scale, original_length());
  }
};

/// Everything, for whoever writes a reader.
class JsonFormat final : public ExportFormat {
 public:
  explicit JsonFormat(const ExportRequest& request) : ExportFormat(request) {}

  std::vector<std::string> warnings() const override { return {}; }
  model::ExportTables applied() const override { return request().tables; }

  std::string notes() const override {
    return fmt::format(
        "`factors` divide the plain frequencies `rope_theta`^(-2i/`rotary_dim`); `inv_freq` are the results, radians "
        "per\n"
        "token. `attention_factor` multiplies cos and sin; the first `start_tokens` positions keep the plain "
        "frequencies.\n"
        "{}`--rope longrope:FILE` reads the {}table back.\n",
        request().tables.switches
            ? fmt::format(
                  "The table at the top is for sequences longer than {} tokens, the one under `short` for others.\n",
                  original_length())
            : "",
        request().tables.switches ? "long " : "");
  }

  void write(const std::string& readme) const override {
    const std::string name =
        std::filesystem::absolute(request().model_directory).lexically_normal().filename().string();
    model::FileWithReadme file(request().out, readme);
    file.main().append(table_json(request().tables, request().config, name));
    file.commit();
  }

  model::ExportTables reread() const override {
    return model::read_table_json(model::read_small_file(request().out, kMaxTableBytes), request().out.string(),
                                  request().config);
  }
};

}  // namespace

std::unique_ptr<ExportFormat> make_table_format(const std::string& name, const ExportRequest& request) {
  if (name == "csv") return std::make_unique<CsvFormat>(request);
  return std::make_unique<JsonFormat>(request);
}

}  // namespace longrope::cli
