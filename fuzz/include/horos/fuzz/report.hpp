// A campaign's results for programs (JSON) and for people (one self-contained HTML page), and the
// files that reproduce a cluster.
#pragma once

#include "horos/fuzz/campaign.hpp"

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace horos::fuzz {

nlohmann::json toJson(const CampaignResult& result);
std::string toHtml(const CampaignResult& result);
std::string toMarkdown(const CampaignResult& result);

// On what a cluster that nobody knows depends, for a line about it; mostly nothing.
std::string condition(const Cluster& cluster);

// A short name for a cluster's files: stable for one cluster key.
std::string clusterName(const ClusterKey& key);

// Writes case.json, the bootable image for the target and a GoogleTest into folder/<name>/; cases
// that it needs before it as before-1.json and so on (`replay --after`); returns that folder.
std::string writeReproducer(const std::string& folder, const Cluster& cluster,
                            const TargetOptions& target, const std::string& profile);

// The same for any case, straight into `folder`; `name` is that of the GoogleTest.
void writeReproducer(const std::string& folder, const std::string& name, const std::string& title,
                     const Case& example, const TargetOptions& target, const std::string& profile);

// What Bochs needs to boot a standalone ROM.
std::string standaloneBochsConfiguration(const std::string& rom, const std::string& log);

// The image with the case in it. `image` is the plain harness, ELF or ROM.
std::string embedCase(std::string image, const Case& c, const svm_model::Prediction& prediction,
                      const std::string& title);

} // namespace horos::fuzz
