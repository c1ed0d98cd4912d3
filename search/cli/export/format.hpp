// What every format of `export` is to the command: checked first, then written once, then read back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/export_tables.hpp"
#include "model/model_config.hpp"
#include "search/cli/command.hpp"

namespace longrope::cli {

/// The longest file that is read back, in bytes.
inline constexpr std::int64_t kMaxTableBytes = 64 << 20;

/// What is exported, for all formats.
struct ExportRequest {
  std::filesystem::path model_directory;
  std::filesystem::path out;
  model::ExportTables tables;
  model::ModelConfig config;
};

class ExportFormat {
 public:
  virtual ~ExportFormat() = default;

  /// What its reader does otherwise than the tables say, one line each.
  virtual std::vector<std::string> warnings() const = 0;
  /// The tables as its reader will apply them: rounded, with the attention factor it uses.
  virtual model::ExportTables applied() const = 0;
  /// Whether its reader takes the long table when it is set up for (or given) `length` tokens.
  virtual bool uses_long(std::int64_t length) const { return length > original_length(); }
  /// README: which table is active at which setting, in Markdown.
  virtual std::string notes() const = 0;
  /// Writes everything, or nothing. Throws InputError if it exists, RuntimeError if the disk fails.
  virtual void write(const std::string& readme) const = 0;
  /// Reads what write() wrote. Throws an Error where it is not what was to be written.
  virtual model::ExportTables reread() const = 0;
  /// Where the export is a checkpoint that our own loader reads.
  virtual std::optional<std::filesystem::path> checkpoint() const { return std::nullopt; }
  /// The --with engine that reads it ("" if none).
  virtual std::string engine() const { return ""; }
  /// Whether its weights are the checkpoint's in float32, so that an engine must give our perplexity.
  virtual bool exact_weights() const { return true; }

 protected:
  explicit ExportFormat(ExportRequest request) : request_(std::move(request)) {}
  const ExportRequest& request() const { return request_; }
  std::int64_t original_length() const { return request_.config.rope.original_length; }

 private:
  ExportRequest request_;
};

/// Options that belong to single formats: --weights, --gguf.
po::options_description export_format_options();

/// The format's name is checked, and that it can carry the tables. Throws InputError.
std::unique_ptr<ExportFormat> make_export_format(const std::string& name, const ExportRequest& request,
                                                 const po::variables_map& values);

// One function per file that holds formats.
std::unique_ptr<ExportFormat> make_directory_format(const std::string& name, const ExportRequest& request,
                                                    const std::string& weights);
std::unique_ptr<ExportFormat> make_override_format(const std::string& name, const ExportRequest& request);
std::unique_ptr<ExportFormat> make_gguf_format(const ExportRequest& request, const std::string& gguf);
std::unique_ptr<ExportFormat> make_table_format(const std::string& name, const ExportRequest& request);

}  // namespace longrope::cli
