#include "cache.hpp"
#include "json.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <llvm/Support/SHA1.h>
#include <sstream>
#include <unistd.h>
#include <z3.h>

namespace horos::proofs {

extern const char* const prover_identity; // written by the build: identity.cmake

namespace {

std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
}

std::string hex_of(llvm::SHA1& hash) {
    std::string hex;
    for (const uint8_t byte : hash.final()) {
        char two[3];
        std::snprintf(two, sizeof two, "%02x", byte);
        hex += two;
    }
    return hex;
}

bool gave_up(const Result& r) { return r.details.size() == 1 && r.details[0] == out_of_time; }

} // namespace

std::string file_hash(const std::string& path) {
    const std::string all = read_file(path);
    if (all.empty())
        return "-";
    llvm::SHA1 hash;
    hash.update(all);
    return hex_of(hash);
}

Cache::Cache(const Options& o) : options_(o) {
    if (o.cache.empty())
        return;
    std::error_code error;
    std::filesystem::create_directories(o.cache, error);
    if (!std::filesystem::is_directory(o.cache) || access(o.cache.c_str(), W_OK) != 0)
        throw std::runtime_error("results cannot be kept in " + o.cache +
                                 ": it is no folder that can be written");
    llvm::SHA1 hash;
    for (const std::string& part :
         {file_hash(o.core), file_hash(o.spec), std::string(prover_identity),
          std::string(Z3_get_full_version()), std::to_string(o.query_timeout), o.mutant})
        hash.update(part + "\n");
    key_ = hex_of(hash);
}

std::string Cache::path(const std::string& theorem) const {
    std::string file = theorem;
    for (char& c : file) {
        if (c == '/')
            c = '_';
    }
    return options_.cache + "/" + file + "-" + key_;
}

// What was given up is tried again by a run that has more time.
bool Cache::read(Outcomes& o) const {
    if (key_.empty())
        return false;
    const std::string known = read_file(path(o.name));
    if (known.empty() || !from_json(known, o.result, o.seconds, o.megabytes) ||
        (gave_up(o.result) && o.seconds + 1 <= options_.timeout)) {
        o.result = {};
        o.seconds = 0;
        o.megabytes = 0;
        return false;
    }
    o.cached = true;
    return true;
}

// Another run may read at any time: the file appears whole.
void Cache::write(const Outcomes& o) const {
    if (key_.empty())
        return;
    const std::string to = path(o.name);
    const std::string part = to + "." + std::to_string(getpid());
    {
        std::ofstream out(part);
        out << to_json(o.result, o.seconds, o.megabytes);
        if (!out)
            return;
    }
    std::rename(part.c_str(), to.c_str());
}

} // namespace horos::proofs
