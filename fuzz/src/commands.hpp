// The commands of horos-fuzz: what main() does with its arguments.
#pragma once

#include "horos/fuzz/campaign.hpp"
#include "horos/fuzz/target.hpp"

#include <atomic>
#include <string>

namespace CLI {
class App; // the header is large, and only two files need it
}

namespace horos::fuzz {

enum Exit { GOOD = 0, NEW_DIVERGENCES = 1, FAILED = 2 };

extern std::atomic<bool> interrupted; // by a signal

struct Common {
    std::string target = "qemu-svm";
    std::string profile;
    std::string images;

    TargetOptions options() const;
    void addTo(CLI::App& app);
};

struct CampaignArguments {
    Common common;
    double seconds = 60;
    uint64_t cases = 0;
    uint64_t seed = 1;
    unsigned jobs = 1;
    std::string corpus, json, html, markdown, triage, reproducers;
    bool solve = false, noPairs = false, noMinimise = false, quiet = false;
};

// What every campaign takes from its arguments.
CampaignOptions campaignOptions(const CampaignArguments& arguments);

int runFuzz(const CampaignArguments& arguments);
// `survivors`: how many faults may stay unfound.
int runKillTable(const CampaignArguments& arguments, unsigned survivors);
int runBench(const Common& common, unsigned rounds, uint64_t cases, const std::string& json);
// `before`: files of cases to run first, on the same target.
int replay(const Common& common, const std::string& file, const std::vector<std::string>& before,
           bool dump);
int reproduce(const Common& common, const std::string& file, const std::string& folder);
int list(const Common& common, const std::string& what);
int writeWitnesses(const Common& common, std::string folder, bool pairs);

} // namespace horos::fuzz
