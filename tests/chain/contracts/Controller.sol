// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// Names the protocol's contracts by the hash of their names, and can pause them.
contract Controller {
    struct Entry {
        address place;
        bytes20 gitCommitHash;
    }

    address public owner = msg.sender;
    bool public paused;
    mapping(bytes32 => Entry) private entries;

    event SetContractInfo(bytes32 id, address contractAddress, bytes20 gitCommitHash);
    event Pause();
    event Unpause();

    modifier onlyOwner() {
        require(msg.sender == owner, "only the owner");
        _;
    }

    function setContractInfo(bytes32 id, address place, bytes20 gitCommitHash) external onlyOwner {
        entries[id] = Entry(place, gitCommitHash);
        emit SetContractInfo(id, place, gitCommitHash);
    }

    function getContract(bytes32 id) public view returns (address) {
        return entries[id].place;
    }

    function getContractInfo(bytes32 id) external view returns (address, bytes20) {
        return (entries[id].place, entries[id].gitCommitHash);
    }

    function pause() external onlyOwner {
        paused = true;
        emit Pause();
    }

    function unpause() external onlyOwner {
        paused = false;
        emit Unpause();
    }
}

/// What the other contracts ask of the Controller.
abstract contract Controlled {
    Controller public controller;

    constructor(Controller controller_) {
        controller = controller_;
    }

    modifier whenNotPaused() {
        require(!controller.paused(), "system is paused");
        _;
    }

    function found(string memory name) internal view returns (address) {
        return controller.getContract(keccak256(bytes(name)));
    }
}
