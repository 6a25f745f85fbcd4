#include "tools/common/files.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tools/common/diagnostics.hpp"

namespace horos::tools {
namespace {

[[noreturn]] void fail(const std::string& file, const char* what) {
    throw Fatal(file + ": error: cannot " + what + ": " + std::strerror(errno));
}

} // namespace

std::string read_text(const std::string& file) {
    if (std::filesystem::is_directory(file)) {
        throw Fatal(file + ": error: is a directory, not a file");
    }
    errno = 0;
    std::ifstream in(file, std::ios::binary);
    if (!in) {
        fail(file, "open");
    }
    std::string out{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (in.bad()) {
        fail(file, "read");
    }
    return out;
}

std::vector<std::uint8_t> read_bytes(const std::string& file) {
    const std::string text = read_text(file);
    return {text.begin(), text.end()};
}

void write_file(const std::string& file, std::span<const std::uint8_t> bytes) {
    const std::string beside = file + ".new";
    errno = 0;
    {
        std::ofstream out(beside, std::ios::binary | std::ios::trunc);
        out.write(reinterpret_cast<const char*>(bytes.data()),
                  static_cast<std::streamsize>(bytes.size()));
        out.flush();
        if (!out) {
            fail(beside, "write");
        }
    }
    std::error_code error;
    std::filesystem::rename(beside, file, error);
    if (error) {
        throw Fatal(file + ": error: cannot replace: " + error.message());
    }
}

bool write_text_if_changed(const std::string& file, std::string_view text) {
    if (std::filesystem::exists(file) && read_text(file) == text) {
        return false;
    }
    const std::filesystem::path parent = std::filesystem::path(file).parent_path();
    if (!parent.empty()) {
        std::filesystem::create_directories(parent);
    }
    write_file(file, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    return true;
}

} // namespace horos::tools
