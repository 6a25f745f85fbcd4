#include "horos/fuzz/corpus.hpp"

#include "process.hpp"

#include <filesystem>
#include <fmt/format.h>
#include <stdexcept>
#include <unistd.h>

namespace horos::fuzz {

namespace fs = std::filesystem;

Corpus::Corpus(std::string folder) : folder_(std::move(folder)) {
    std::error_code error;
    fs::create_directories(folder_, error);
    if (!fs::is_directory(folder_))
        throw std::runtime_error(fmt::format("corpus folder {}: {}", folder_, error.message()));
}

std::vector<Case> Corpus::newCases() {
    std::vector<Case> found;
    if (!enabled())
        return found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
        std::string file = entry.path().filename().string();
        if (file.front() == '.' || !seen_.insert(file).second)
            continue;
        try {
            found.push_back(loadCase(entry.path().string()));
            found.back().origin = "corpus " + file;
        } catch (const std::exception&) {
            ++skipped_; // another tool's file, or one of another version
        }
    }
    return found;
}

// Written aside and renamed, so that a reader never sees half a file.
void Corpus::add(const Case& c) {
    if (!enabled())
        return;
    std::string file = contentName(c);
    if (!seen_.insert(file).second)
        return;
    std::vector<uint8_t> bytes = encode(c);
    std::string aside = fmt::format("{}/.{}.{}", folder_, file, getpid());
    writeFile(aside, std::string(bytes.begin(), bytes.end()));
    fs::rename(aside, folder_ + "/" + file);
}

} // namespace horos::fuzz
