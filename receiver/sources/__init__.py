"""Who may send to us, one file each: base is the contract, the others keep it. Pure: headers and bytes in, a value or one Rejected out."""
